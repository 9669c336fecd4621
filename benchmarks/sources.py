"""What each source and option costs, by the kernel's own account of the BPF programs.

With kernel.bpf_stats_enabled the kernel adds up how long every program ran, and how often: far less noisy than what a
workload loses. The programs of a recorder are found by the links that it holds open. Beside it runs a load that does what
the source records; the cost is that of a run of the program at the tracepoint, whether it recorded something or not, with
the two looks at the clock that the account itself takes.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.live import recorder
from benchmarks.page import OFFWAKE, machine, publish
from offwake.format.layout import Kind
from offwake.format.reader import TraceReader

STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
ON_DISK = Path(__file__).parents[1] / "build"  # the temporary folder may be in memory
SAMPLE = "sample"  # what the kernel's account has in place of a tracepoint
PERF_EVENT = "7"  # BPF_PROG_TYPE_PERF_EVENT

CONNECTIONS = f"""{sys.executable} -c '
import socket, threading
def serve():
    for _ in range(3000):
        with listener.accept()[0] as asked:
            asked.recv(100); asked.send(bytes(100))
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve).start()
for _ in range(3000):
    with socket.create_connection(listener.getsockname()) as asking:
        asking.send(bytes(100)); asking.recv(100)
'"""
TALK = f"""{sys.executable} -c '
import socket, threading
def serve():
    with listener.accept()[0] as asked:
        while question := asked.recv(100):
            asked.send(question)
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve).start()
with socket.create_connection(listener.getsockname()) as asking:
    for _ in range(20000):
        asking.send(bytes(100)); asking.recv(100)
'"""
REFUSED = f"""{sys.executable} -c '
import socket
for _ in range(10000):
    with socket.socket() as asking:
        asking.connect_ex(("127.0.0.1", 9))
'"""
SWITCHES = "taskset -c 0 perf bench sched pipe -l 100000"
TAKE_TURNS_BY_TCP = """taskset -c 0 perl -MIO::Socket::INET -e '
    $listener = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1");
    $child = fork;
    $asked = $child ? $listener->accept : IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $listener->sockport);
    for (1..50000) {
        syswrite $asked, "?" unless $child;
        sysread $asked, $answer, 1;
        syswrite $asked, "!" if $child;
    }
'"""
BUSY = "for cpu in 0 1; do (i=0; while [ $i -lt 3000000 ]; do i=$((i+1)); done) & done; wait"
READS = f"fio --name=x --directory={ON_DISK} --size=64M --rw=randread --bs=4k --direct=1 --unlink=1"

SCHED = {"sched_waking": "every waking", "sched_switch": "every switch"}
BLOCK = dict.fromkeys(
    ("block_io_start", "block_rq_insert", "block_rq_issue", "block_rq_complete"), "once for a request, if it goes that way"
)
TCP = {
    "inet_sock_set_state": "every change of state; three to six for a connection",
    "tcp_sendmsg_locked": "every piece of what is given to send; the first of a socket is recorded",
    "tcp_rcv_space_adjust": "every receive; the first of a socket is recorded",
    "sk_data_ready": "every arrival; recorded where somebody waits, if not over loopback",
    "tcp_destroy_sock": "every end of a socket",
}
RTT = {"tcp_probe": "every packet that comes in; one in 10 ms of a connection is recorded"}
BYTES = {"sock_send_length": "every send, with the source tcp", "sock_recv_length": "every receive, with the source tcp"}
ERRORS = {"inet_sk_error_report": "every error that reaches a socket"}
DROPS = {"kfree_skb": "every packet that is dropped; those of TCP are recorded"}
NET_STACK = {
    "netif_receive_skb": "every packet that comes in",
    "tcp_probe": "every packet that comes in",
    "skb_copy_datagram_iovec": "every copy to a reader",
    "tcp_sendmsg_locked": "every piece of what is given to send",
    "net_dev_queue": "every packet that goes out",
    "net_dev_start_xmit": "every packet that goes out",
    "net_dev_xmit": "every packet that goes out",
}
PROBES = {
    "uprobe_multi": "every call, without the trap into the kernel",
    "uretprobe_multi": "every return, without the trap into the kernel",
}
NAMES = f"{sys.executable} -c 'import socket; [socket.getaddrinfo(\"localhost\", 80) for _ in range(20000)]'"
SYSCALLS = {"sys_enter": "every system call", "sys_exit": "every return of one"}
CALLS = "dd if=/dev/zero of=/dev/null bs=1 count=500000"


@dataclass(frozen=True)
class Case:
    """A way to record, the load beside it, and how often each tracepoint that it costs something at is passed.

    In the arguments LOAD stands for the load's process, STRANGER for one that only sleeps.
    """

    name: str
    arguments: str
    load: str
    tracepoints: dict[str, str]


CASES = (
    Case("sched", "--sources sched", SWITCHES, SCHED),
    Case("sched, `--user-stacks fp`", "--sources sched --user-stacks fp", SWITCHES, SCHED),
    Case("sched, `--no-wakers`", "--sources sched --no-wakers", SWITCHES, SCHED),
    Case("sched, `--min-block-us 1000`, waits are shorter", "--sources sched --min-block-us 1000", SWITCHES, SCHED),
    Case("sched, `--pid`, of members", "--sources sched --pid LOAD", SWITCHES, SCHED),
    Case("sched, `--pid`, of strangers", "--sources sched --pid STRANGER", SWITCHES, SCHED),
    Case("sched, `--pid --no-wakers`, of strangers", "--sources sched --no-wakers --pid STRANGER", SWITCHES, SCHED),
    Case("sched, over TCP", "--sources sched", TAKE_TURNS_BY_TCP, SCHED),
    Case("on-cpu", "--sources on-cpu", BUSY, {SAMPLE: "49 times a second on a CPU that runs something"}),
    Case("block", "--sources block", READS, BLOCK),
    Case("tcp", "--sources tcp", CONNECTIONS, TCP),
    Case("tcp, on one connection", "--sources tcp", TALK, TCP),
    Case("tcp-rtt", "--sources tcp-rtt", TALK, RTT),
    Case("tcp-bytes", "--sources tcp-bytes", TALK, BYTES),
    Case("tcp-drop", "--sources tcp-drop", REFUSED, DROPS),
    Case("tcp-stats", "--sources tcp-stats", REFUSED, ERRORS),
    Case("syscalls", "--sources syscalls", CALLS, SYSCALLS),
    Case("dns", "--sources dns", NAMES, PROBES),
    Case("count:u:c:write", "--sources count:u:c:write", CALLS, {"uprobe_multi": PROBES["uprobe_multi"]}),
    Case("time:u:c:write", "--sources time:u:c:write", CALLS, PROBES),
    Case("net-stack", "--sources net-stack", TALK, NET_STACK),
)


@dataclass(frozen=True)
class Run:
    """A recording of a case: nanoseconds of a run and runs, by tracepoint; events stored, their bytes in ring and file."""

    ns: dict[str, float]
    runs: dict[str, int]
    stored: int
    ring_bytes: int
    file_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each case (default 3)")
    arguments = parser.parse_args()
    ON_DISK.mkdir(exist_ok=True)
    runs: dict[str, list[Run]] = {case.name: [] for case in CASES}
    with statistics_of_programs():
        for case in track([case for _ in range(arguments.rounds) for case in CASES], "recording"):
            with tempfile.TemporaryDirectory() as folder:
                runs[case.name].append(run(case, Path(folder) / "x.offwake"))
    results = {"machine": machine(), "runs": {name: [asdict(one) for one in of_case] for name, of_case in runs.items()}}
    publish("costs", results, "\n".join(markdown(results, runs)), on_page="recording.md")


@contextmanager
def statistics_of_programs() -> Iterator[None]:
    """Have the kernel add up what BPF programs take, until the block ends."""
    before = STATISTICS.read_text()
    STATISTICS.write_text("1")
    try:
        yield
    finally:
        STATISTICS.write_text(before)


def run(case: Case, file: Path) -> Run:
    """Record the case's load once. It is started first, and waits for a line: so its process is known."""
    shell = ["sh", "-c", f"read go; {case.load}"]
    quiet: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(["sleep", "600"]) as stranger, subprocess.Popen(shell, text=True, **quiet) as load:
        arguments = case.arguments.replace("LOAD", str(load.pid)).replace("STRANGER", str(stranger.pid))
        with recorder([OFFWAKE, "record", "-o", file, *arguments.split()], file) as process:
            before = taken(process.pid)
            load.communicate("go\n")
            after = taken(process.pid)
        stranger.kill()
    if load.returncode != 0:
        sys.exit(f"failed with {load.returncode}: {case.load}")
    runs = {name: after[name][1] - before[name][1] for name in case.tracepoints if name in after}
    ns = {name: (after[name][0] - before[name][0]) / count for name, count in runs.items() if count}
    stored, ring_bytes, file_bytes = what_is_stored(file)
    return Run(ns, runs, stored, ring_bytes, file_bytes)


def taken(pid: int) -> dict[str, tuple[int, int]]:
    """Return the nanoseconds that a process's BPF programs took, all of a tracepoint together, and how often they ran."""
    links, programs = {}, {}
    for facts in held(pid):
        if "tp_name" in facts:
            links[facts["prog_id"]] = facts["tp_name"]
        elif facts.get("link_type") in PROBES:
            links[facts["prog_id"]] = facts["link_type"]
        elif "run_cnt" in facts:
            programs[facts["prog_id"]] = facts
            if facts["prog_type"] == PERF_EVENT and int(facts["run_cnt"]):  # those that others call have no count
                links[facts["prog_id"]] = SAMPLE
    found = {SAMPLE: (0, 0)}
    for id_, name in ((id_, name) for id_, name in links.items() if id_ in programs):
        ns, runs = found.get(name, (0, 0))
        found[name] = ns + int(programs[id_]["run_time_ns"]), max(runs, int(programs[id_]["run_cnt"]))
    return found


def all_taken_ns(pid: int) -> int:
    """Return the nanoseconds that all BPF programs of a process took."""
    return sum({facts["prog_id"]: int(facts["run_time_ns"]) for facts in held(pid) if "run_time_ns" in facts}.values())


def held(pid: int) -> Iterator[dict[str, str]]:
    """Yield what the kernel says of each file that a process holds open."""
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            lines = [line.split(":", 1) for line in path.read_text().splitlines() if ":" in line]
            yield {key: value.strip() for key, value in lines}


def what_is_stored(file: Path) -> tuple[int, int, int]:
    """Return how many events a recording holds, and their bytes in the ring, stacks included, and in the file, without
    symbols."""
    with TraceReader.open(file) as reader:
        events = [block for block in reader.blocks if block.kind == Kind.EVENTS]
        last_tick = [reader.values(block) for block in reader.blocks if block.kind == Kind.TICK][-1]
    assert last_tick
    stored = sum(row[1] for kinds in last_tick["counters"].values() for row in kinds.values())
    return stored, sum(block.raw_length for block in events), sum(block.compressed_length for block in events)


def markdown(results: dict[str, Any], runs: dict[str, list[Run]]) -> Iterator[str]:
    """The lines of the table on the page."""
    where, rounds = results["machine"], len(next(iter(runs.values())))
    yield f"{where['cpus']} CPUs ({where['model']}), Linux {where['kernel']}; medians of {rounds} runs."
    yield ""
    yield "| source or option | at | how often | ns each | bytes an event, in the ring | in the file |"
    yield "|---|---|---|---|---|---|"
    for case in CASES:
        of_case = runs[case.name]
        shown, sizes = case.name, " | "
        if all(one.stored > sum(one.runs.values()) / 100 for one in of_case):  # or only others' events are there
            ring = statistics.median(one.ring_bytes / one.stored for one in of_case)
            in_file = statistics.median(one.file_bytes / one.stored for one in of_case)
            sizes = f"{ring:.0f} | {in_file:.1f}"
        for tracepoint, often in case.tracepoints.items():
            found = [one.ns[tracepoint] for one in of_case if tracepoint in one.ns]
            if found:
                yield f"| {shown} | {tracepoint} | {often} | {statistics.median(found):.0f} | {sizes} |"
                shown, sizes = "", " | "


if __name__ == "__main__":
    main()
