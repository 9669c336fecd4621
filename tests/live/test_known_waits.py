"""Workloads that measured their own waits, against what their recordings say."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import Recorded, Thread, ask, events

Record = Callable[[str], Recorded]

WORKLOADS = ["pipe_chain", "lock", "sync_writes", "tcp_echo"]

WORKERS = [
    ("pipe_chain", "chain-a", ["produce", "pause_us", "system_call"]),
    ("pipe_chain", "chain-b", ["relay", "receive", "system_call"]),
    ("pipe_chain", "chain-c", ["consume", "receive", "system_call"]),
    ("lock", "lock-holder", ["hold", "hold_lock"]),
    ("lock", "lock-waiter", ["want", "want_lock"]),
    ("sync_writes", "sync-writer", ["write_and_sync", "sync_file", "system_call"]),
    ("tcp_echo", "tcp-server", ["serve", "receive", "system_call"]),
    ("tcp_echo", "tcp-client", ["ask", "receive", "system_call"]),
]
"""Workload, worker, and the functions that its operation goes through, outermost first."""

WAKERS = [
    ("pipe_chain", "chain-b", "receive", ["system_call", "transmit", "produce"], "chain-a"),
    ("pipe_chain", "chain-c", "receive", ["system_call", "transmit", "relay"], "chain-b"),
    ("lock", "lock-waiter", "want_lock", ["hold_lock", "hold"], "lock-holder"),
    ("tcp_echo", "tcp-server", "receive", ["system_call", "transmit", "ask"], "tcp-client"),
    ("tcp_echo", "tcp-client", "receive", ["system_call", "transmit", "serve"], "tcp-server"),
]
"""Workload, waiting worker, where it waits, and who wakes it, from which functions, innermost first."""


def holds_run(frames: list[str], run: list[str]) -> bool:
    """Whether `run` lies in `frames`, unbroken."""
    return any(frames[at : at + len(run)] == run for at in range(len(frames)))


def stacks_through(recorded: Recorded, view: str, worker: str, function: str) -> Iterator[dict[str, Any]]:
    """The stacks of a worker that waits inside a function."""
    for stack in recorded.stacks(view):
        blocked_stack = list(takewhile(lambda frame: frame != "--", stack["frames"]))
        if blocked_stack[0] == worker and function in blocked_stack:
            yield stack


def assert_all_waits(recorded: Recorded, thread: Thread, stacks: list[dict[str, Any]]) -> None:
    """The stacks hold every wait of the thread's operations, less those whose end the kernel hid."""
    count = sum(stack["count"] for stack in stacks)
    assert thread.waits - recorded.hidden_waits(thread) <= count <= thread.waits


@pytest.mark.parametrize("name", WORKLOADS)
def test_off_cpu_time_is_the_wall_time_less_the_cpu_time(recorded: Record, name: str) -> None:
    rows = {row["tid"]: row for row in recorded(name).table("threads")}
    for thread in recorded(name).threads:
        row = rows[thread.tid]
        off_cpu_ns = row["blocked_ns"] + row["run_queue_ns"] + row["preempted_ns"]
        waited_ns = thread.wall_ns - thread.cpu_ns
        assert waited_ns >= 2_000_000_000
        not_comparable_ns = row["unknown_ns"] + recorded(name).document["stolen_ns"]
        assert abs(waited_ns - off_cpu_ns) <= 0.02 * waited_ns + not_comparable_ns, thread.name
        assert row["comm"] == thread.name
        assert row["pid"] == thread.pid


@pytest.mark.parametrize(("name", "worker", "functions"), WORKERS)
def test_every_wait_is_there_once_with_its_user_stack(
    recorded: Record, name: str, worker: str, functions: list[str]
) -> None:
    thread: Thread = recorded(name).thread(worker)
    stacks = list(stacks_through(recorded(name), "off-cpu", worker, functions[1]))
    assert_all_waits(recorded(name), thread, stacks)
    assert sum(stack["value_ns"] for stack in stacks) <= thread.waited_ns
    for stack in stacks:
        assert holds_run(stack["frames"], functions), stack["frames"]


@pytest.mark.parametrize(("name", "worker", "function", "waking", "waker"), WAKERS)
def test_the_waker_and_its_stack_are_named_though_it_may_be_gone(
    recorded: Record, name: str, worker: str, function: str, waking: list[str], waker: str
) -> None:
    stacks = list(stacks_through(recorded(name), "off-wake", worker, function))
    woken = [stack for stack in stacks if stack["frames"][-1] == waker]
    assert_all_waits(recorded(name), recorded(name).thread(worker), woken)
    for stack in woken:
        assert holds_run(stack["frames"][stack["frames"].index("--") :], waking), stack["frames"]


def test_a_sleep_ends_with_the_timer(recorded: Record) -> None:
    chain = recorded("pipe_chain")
    stacks = stacks_through(chain, "off-wake", "chain-a", "pause_us")
    assert_all_waits(chain, chain.thread("chain-a"), [stack for stack in stacks if stack["frames"][-1] == "[timer]"])


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_kernel_frame_has_a_name(recorded: Record, name: str) -> None:
    frames = {frame for stack in recorded(name).stacks("off-wake") for frame in stack["frames"]}
    kernel_frames = {frame for frame in frames if frame.endswith("_[k]")}
    assert kernel_frames
    assert not {frame for frame in kernel_frames if "0x" in frame or "unknown" in frame}


def issued_and_shown(path: Path, tid: int, sector: int) -> tuple[int, int]:
    """Count a thread's requests for a sector among the raw events, and those whose completion the kernel showed.

    It hides the ones in interrupts over a thread of process 1: see Recorded.hidden_waits.
    """
    started, open_requests, issued, shown = set[int](), set[int](), 0, 0
    for event in events(path):
        if event["event"] == "block_io_start":
            open_requests.discard(event["request"])
            (started.add if event["tid"] == tid else started.discard)(event["request"])
        elif event["event"] == "block_rq_issue" and event["request"] in started and event["sector"] == sector:
            issued += event["request"] not in open_requests
            open_requests.add(event["request"])
        elif event["event"] == "block_rq_complete" and event["request"] in open_requests:
            open_requests.discard(event["request"])
            shown += 1
    return issued, shown


def test_every_write_to_the_disk_is_there(recorded: Record) -> None:
    """The block that the workload overwrites is one sector; a file system may write others, of its own, as often."""
    recording, thread = recorded("sync_writes"), recorded("sync_writes").thread("sync-writer")
    rows = recording.table("block-io")
    writes = [row for row in rows if (row["comm"], row["operation"], row["bytes"]) == ("sync-writer", "write", 4096)]
    counts = Counter(row["sector"] for row in writes)
    requests = {sector: issued_and_shown(recording.path, thread.tid, sector) for sector in counts}
    assert max(issued for issued, _ in requests.values()) == thread.operations
    assert counts == {sector: shown for sector, (_, shown) in requests.items()}
    may_hide = ask("info", recording.path, "--json")["missing_switches"]
    assert may_hide or all(shown == issued for issued, shown in requests.values())
    assert all(row["service_ns"] > 0 for row in writes)


def test_every_tcp_session_is_there_from_both_sides_with_its_bytes(recorded: Record) -> None:
    server, client = recorded("tcp_echo").thread("tcp-server"), recorded("tcp_echo").thread("tcp-client")
    rows = {(row["local_port"], row["remote_port"]): row for row in recorded("tcp_echo").table("tcp-sessions")}
    for connection in recorded("tcp_echo").document["connections"]:
        ports = connection["client_port"], connection["server_port"]
        for thread, row in ((client, rows[ports]), (server, rows[ports[::-1]])):
            assert (row["pid"], row["comm"], row["family"]) == (thread.pid, thread.name, f"IPv{connection['family']}")
            assert (row["tx_bytes"], row["rx_bytes"]) == (connection["bytes_each_way"],) * 2
            assert row["local"] == row["remote"] == {4: "127.0.0.1", 6: "::1"}[connection["family"]]


@pytest.mark.parametrize("name", WORKLOADS)
def test_only_what_happens_in_process_1_may_be_hidden(recorded: Record, name: str) -> None:
    hidden = ask("info", recorded(name).path, "--json")["missing_switches"]
    assert all(thread.endswith("(process 1)") for thread in hidden)
    if not hidden:
        rows = {row["tid"]: row for row in recorded(name).table("threads")}
        assert not any(rows[thread.tid]["unknown_ns"] for thread in recorded(name).threads)


def test_info_says_how_many_user_stacks_were_cut_short(recorded: Record) -> None:
    workload = recorded("pipe_chain")
    user_stacks = ask("info", workload.path, "--json")["user_stacks"]
    assert user_stacks["total"] >= sum(thread.waits for thread in workload.threads)
    assert 0 <= user_stacks["cut_short"] <= user_stacks["total"]
