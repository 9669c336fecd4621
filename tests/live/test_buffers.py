"""Windows and buffers of TCP connections: what a reader leaves lying shows, and so does memory that the kernel refuses."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import Recorded, record

ROUNDS, SIZE, BUFFER = 13, 2048, 65536
READS_LATE = f"""
import json, os, socket, time
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, {BUFFER})
listener.bind(("127.0.0.1", 0))
listener.listen()
sending = socket.create_connection(listener.getsockname())
reading = listener.accept()[0]
for _ in range({ROUNDS}):
    sending.send(bytes({SIZE}))
    time.sleep(0.012)
reading.recv({ROUNDS * SIZE}, socket.MSG_WAITALL)
buffer = reading.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
print(json.dumps(dict(pid=os.getpid(), sender=sending.getsockname()[1], buffer=buffer)))
"""
CONNECTIONS = 7
GETS_NO_MEMORY = f"""
import json, socket, sys
with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write("0")
listener, open_ones = socket.create_server(("127.0.0.1", 0)), []
for _ in range({CONNECTIONS}):
    open_ones += [socket.create_connection(listener.getsockname()), listener.accept()[0]]
    open_ones[-2].setblocking(False)
    try:
        while open_ones[-2].send(bytes(1 << 16)):
            pass
    except BlockingIOError:
        pass
print(json.dumps(dict(port=listener.getsockname()[1])))
"""


@pytest.fixture(scope="module")
def read_late(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A recording of a reader that lets everything arrive before it reads, more than 10 ms apart."""
    path = tmp_path_factory.mktemp("buffers") / "x.offwake"
    return record(path, [sys.executable, "-c", READS_LATE], sources="sched,tcp-rtt")


def rows_of(recorded: Recorded, event: str, port: str) -> list[dict[str, Any]]:
    sender = recorded.document["sender"]
    return [row for row in recorded.table("tcp-windows") if (row["event"], row[port]) == (event, sender)]


def test_what_is_not_read_fills_the_buffer(read_late: Recorded) -> None:
    rows = rows_of(read_late, "received", "remote_port")
    assert len(rows) >= ROUNDS
    assert {row["rcv_buffer"] for row in rows} == {read_late.document["buffer"]}
    queued = [row["rcv_queued"] for row in rows[:ROUNDS]]  # what comes after is the end
    assert queued == sorted(queued)
    assert queued[-1] >= (ROUNDS - 1) * SIZE


def test_the_window_that_the_sender_knows_is_the_one_that_the_reader_told(read_late: Recorded) -> None:
    told = [row["rcv_wnd"] for row in rows_of(read_late, "received", "remote_port")]
    known = [row["snd_wnd"] for row in rows_of(read_late, "received", "local_port")]
    assert len(known) > 1
    assert set(known) <= set(told)
    assert min(told) < told[1]  # the second time it has grown; from then on there is less and less room


def test_reading_is_an_event_too(read_late: Recorded) -> None:
    [row] = rows_of(read_late, "read", "remote_port")
    assert row["pid"] == read_late.document["pid"]
    assert row["rcv_space"] > 0
    assert row["srtt_ns"] is None


@pytest.fixture
def poor_group() -> Iterator[Path]:
    """A memory cgroup of version 1 that allows a page of TCP memory; those of version 2 let packets that come in pass."""
    group = Path(f"/sys/fs/cgroup/memory/offwake-test-{os.getpid()}")
    if not (group.parent / "memory.kmem.tcp.limit_in_bytes").exists():
        pytest.skip("this machine has no memory cgroups of version 1")
    group.mkdir()
    (group / "memory.kmem.tcp.limit_in_bytes").write_text("4096")
    yield group
    group.rmdir()


def test_memory_that_was_refused_is_told_as_often_as_the_kernel_says(poor_group: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, "-c", GETS_NO_MEMORY, poor_group]
    sources = "sched,tcp-rtt,trace:sock:sock_exceed_buf_limit"
    done = record(tmp_path / "x.offwake", command, sources=sources)
    traced = [row for row in done.table("events") if row["name"] == "TCP"]
    ours = [row for row in done.table("tcp-windows") if row["event"] == "buffer limit"]
    assert len(ours) == len(traced) >= CONNECTIONS
    assert sum(row["local_port"] == done.document["port"] for row in ours) >= CONNECTIONS
