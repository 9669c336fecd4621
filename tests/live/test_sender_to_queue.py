"""From the sender to the queue: as long as a program keeps its first bytes back, which it measures of itself."""

import sys
from pathlib import Path

from tests.live.harness import record

ROUNDS, PIECES = 31, 53
KEEPS_BACK = f"""
import json, socket, time
listener = socket.create_server(("127.0.0.1", 0))
sending = socket.create_connection(listener.getsockname())
receiving = listener.accept()[0]
inside = outside = 0
for _ in range({ROUNDS}):
    sending.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    began = time.monotonic_ns()
    sending.send(b"x")
    given = time.monotonic_ns()
    for _ in range({PIECES - 1}):
        sending.send(b"x")
    kept = time.monotonic_ns()
    sending.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    outside += time.monotonic_ns() - began
    inside += kept - given
    receiving.recv({PIECES}, socket.MSG_WAITALL)
print(json.dumps(dict(port=sending.getsockname()[1], inside_ns=inside, outside_ns=outside)))
"""


def test_a_packet_waits_from_its_first_byte_on(tmp_path: Path) -> None:
    done = record(tmp_path / "x.offwake", [sys.executable, "-c", KEEPS_BACK], sources="sched,net-stack")
    [row] = [
        row
        for row in done.table("net-stack")
        if (row["local_port"], row["way"]) == (done.document["port"], "sender-to-queue")
    ]
    assert row["packets"] == ROUNDS
    assert done.document["inside_ns"] <= row["total_ns"] <= done.document["outside_ns"]
