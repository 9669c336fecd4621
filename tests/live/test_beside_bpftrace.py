"""bpftrace's one-liners as a second witness: the same requests, latencies and retransmits in the same seconds."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.live.harness import ask, events, record, with_tracefs
from tests.live.networks import veth
from tests.live.test_chains import loop_device

SYNCS, PAGES, PAGE = 2003, 997, 4096
WRITE, FLUSH = 1, 2  # REQ_OP_…
HIDDEN_AT_MOST = 20
SYNCS_PAGES = f"""
import json, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
for number in range({SYNCS}):
    os.pwrite(file, bytes([number % 251]) * {PAGE}, {PAGE} * (number % {PAGES}))
    os.fsync(file)
print(json.dumps(dict(pid=os.getpid())))
"""
READS = 307
READS_FROM_ONE_WHO_SLEEPS = f"""
import json, os, threading, time
def write():
    for _ in range({READS}):
        time.sleep(0.003)
        os.write(end, b"x")
(begin, end), byte = os.pipe(), bytearray(1)
threading.Thread(target=write).start()
for _ in range({READS}):
    os.readv(begin, [byte])
print(json.dumps(dict(pid=os.getpid())))
"""
NEAR_AN_EDGE = 0.01
"""Of the latencies so many may lie in other buckets: the two programs run one after the other."""
ROUNDS, SIZE, EVERY = 61, 1009, 7


class Witness:
    """What a run of bpftrace printed at its end: its maps, by name."""

    maps: dict[str, Any]


@contextmanager
def bpftrace(program: str) -> Iterator[Witness]:
    """Run a program of bpftrace around a block, from when it is attached."""
    seen = Witness()
    command = with_tracefs("bpftrace", "-f", "json", "-e", 'BEGIN { printf("ready\\n"); } ' + program)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            while "ready" not in process.stdout.readline():
                assert process.poll() is None
            yield seen
        finally:
            process.terminate()
        documents = [json.loads(line) for line in process.stdout.read().splitlines() if line.startswith("{")]
    seen.maps = {}
    for document in documents:
        if document["type"] in ("map", "hist"):
            seen.maps |= document["data"]


def test_syncs_on_a_loop_device_are_the_requests_that_bpftrace_counts(tmp_path: Path) -> None:
    with loop_device(direct_io="off") as device:
        major, minor = (int(number, 10) for number in Path("/sys/block", device.name, "dev").read_text().split(":"))
        here = f"args->dev == {major << 20 | minor}"
        counts = f"tracepoint:block:block_rq_issue /{here}/ {{ @[args->rwbs] = count(); @bytes = sum(args->bytes); }}"
        with bpftrace(counts) as seen:
            done = record(tmp_path / "x.offwake", [sys.executable, "-c", SYNCS_PAGES, device], sources="block")
    issued = [event for event in events(done.path) if event["event"] == "block_rq_issue" and event["minor"] == minor]
    issued = [event for event in issued if event["major"] == major]
    assert Counter(event["command"] & 0xFF for event in issued) == {WRITE: SYNCS, FLUSH: SYNCS}
    assert {rwbs[0]: count for rwbs, count in seen.maps["@"].items()} == {"W": SYNCS, "F": SYNCS}
    assert sum(event["bytes"] for event in issued) == seen.maps["@bytes"] == SYNCS * PAGE
    assert [event["sector"] for event in issued if event["command"] & 0xFF == WRITE] == [
        PAGE // 512 * (number % PAGES) for number in range(SYNCS)
    ]
    rows = [row for row in done.table("block-io") if row["device"] == device.name]
    assert {row["operation"] for row in rows} == {"write", "flush", "preflush"}
    for operation in ("write", "flush", "preflush"):
        mine = [row for row in rows if row["operation"] == operation]
        # Some kernels hide what interrupts a thread of process 1: such a completion is in nobody's trace.
        assert SYNCS - HIDDEN_AT_MOST <= len(mine) <= SYNCS, operation
        assert operation == "flush" or {row["pid"] for row in mine} == {done.document["pid"]}
        assert {row["bytes"] for row in mine} == {PAGE if operation == "write" else 0}


def test_the_histogram_of_reads_is_that_of_the_one_liner(tmp_path: Path) -> None:
    one_liner = """
tracepoint:syscalls:sys_enter_readv { @began[tid] = nsecs; }
tracepoint:syscalls:sys_exit_readv /@began[tid]/ { @[pid] = hist(nsecs - @began[tid]); delete(@began[tid]); }
"""
    with bpftrace(one_liner) as seen:
        command: list[str | Path] = [sys.executable, "-c", READS_FROM_ONE_WHO_SLEEPS]
        done = record(tmp_path / "x.offwake", command, sources="syscalls")
    pid = str(done.document["pid"])
    theirs = {bucket["min"]: bucket["count"] for bucket in seen.maps["@"][pid]}
    found = ask("histogram", done.path, "--of", "syscalls", "--by", "call", "--pid", pid, "--json")["histograms"]
    [one] = [one for one in found if one["by"] == {"call": "readv"}]
    ours = {low: count for low, _, count in one["buckets"]}
    assert one["count"] == sum(theirs.values()) == READS
    for edge in {*ours, *theirs}:
        below = [sum(count for low, count in buckets.items() if low < edge) for buckets in (ours, theirs)]
        assert abs(below[0] - below[1]) <= NEAR_AN_EDGE * one["count"]


def test_retransmits_are_those_of_the_one_liner(tmp_path: Path) -> None:
    with veth() as network, bpftrace("tracepoint:tcp:tcp_retransmit_skb { @[args->sport] = count(); }") as seen:
        network.lose(EVERY, SIZE)
        done = record(tmp_path / "x.offwake", network.exchange(network.far_addresses[0], ROUNDS, SIZE))
    port = done.document["client_port"]
    ours = [row for row in done.table("tcp-retransmits") if row["local_port"] == port]
    assert len(ours) == seen.maps["@"][str(port)] > 0
