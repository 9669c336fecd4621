"""Arrivals that interrupt the program of another one on the same CPU: taken by a second program, and no loss."""

import subprocess
import sys
from pathlib import Path

from tests.live.harness import ask, events, record
from tests.live.networks import veth

ROUNDS, SIZE, EVERY = 31, 1009, 3
FLOOD = """
import os, socket
left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
while True:
    left.send(b"that arrives in the sender's own time, with interrupts on")
    right.recv(100)
"""


def test_packets_among_a_flood_of_other_arrivals_are_not_lost(tmp_path: Path) -> None:
    with veth() as network:
        network.lose(EVERY, SIZE)  # what is sent again is sent, and arrives, in a timer's interrupt
        floods = [subprocess.Popen([sys.executable, "-c", FLOOD]) for _ in range(2)]
        try:
            exchange = network.exchange(network.far_addresses[0], ROUNDS, SIZE)
            done = record(tmp_path / "x.offwake", exchange, sources="tcp")
        finally:
            for flood in floods:
                flood.kill()
                flood.wait()
    assert ask("info", done.path, "--json")["complete"]
    ports = done.document["server_port"], done.document["client_port"]
    assert any(one["event"] == "tcp_data_ready" and one["local_port"] in ports for one in events(done.path))
