"""TCP data that arrive for a thread that waits are recorded just before it is woken; other data are not."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.harness import Recorded, events, record

NOBODY_WAITS = """
import json, os, socket, threading
def waited_for(receiver, send):
    thread = threading.Thread(target=receiver.recv, args=(100,))
    thread.start()
    while open(f"/proc/self/task/{thread.native_id}/stat").read().rpartition(")")[2].split()[0] != "S":
        pass
    send()
    thread.join()
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
for _ in range(101):
    client.send(b"that nobody waits for")
left, right = socket.socketpair()
other, udp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
udp.bind(("127.0.0.1", 0))
for _ in range(53):
    waited_for(left, lambda: right.send(b"through a Unix socket"))
    waited_for(udp, lambda: other.sendto(b"a datagram", udp.getsockname()))
print(json.dumps({"sender": os.getpid()}))
"""


@pytest.mark.parametrize(("worker", "port"), [("tcp-server", "server_port"), ("tcp-client", "client_port")])
def test_a_waking_by_the_network_follows_the_data(recorded: Callable[[str], Recorded], worker: str, port: str) -> None:
    echo = recorded("tcp_echo")
    thread, ports = echo.thread(worker), {connection[port] for connection in echo.document["connections"]}
    explained, ready = 0, set()
    for event in events(echo.path):
        if event["event"] == "tcp_data_ready" and event["local_port"] in ports:
            ready.add(event["cpu"])
        elif event["event"] == "sched_waking" and event["target"] == thread.tid:
            explained += event["cpu"] in ready
            ready.clear()
    assert explained >= thread.waits - echo.hidden_waits(thread)


def test_nothing_is_recorded_of_data_that_nobody_waits_for_nor_of_other_protocols(tmp_path: Path) -> None:
    done = record(tmp_path / "x.offwake", [sys.executable, "-c", NOBODY_WAITS])
    found = [event for event in events(done.path) if event.get("tid") == done.document["sender"]]
    kinds = {event["event"] for event in found}
    assert "tcp_first_send" in kinds
    assert "tcp_data_ready" not in kinds
