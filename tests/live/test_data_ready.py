"""TCP data that arrive from outside for a thread that waits are recorded just before it is woken; other data are not."""

import sys
from pathlib import Path

from tests.live.harness import ask, events, record
from tests.live.networks import veth

ROUNDS, SIZE = 53, 1009
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
server.recv(101 * len(b"that nobody waits for"), socket.MSG_WAITALL)
left, right = socket.socketpair()
other, udp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
udp.bind(("127.0.0.1", 0))
for _ in range(53):
    waited_for(server, lambda: client.send(b"over loopback"))
    waited_for(left, lambda: right.send(b"through a Unix socket"))
    waited_for(udp, lambda: other.sendto(b"a datagram", udp.getsockname()))
print(json.dumps({"sender": os.getpid()}))
"""


def test_a_waking_by_the_network_follows_the_data(tmp_path: Path) -> None:
    with veth() as network:
        exchange = network.exchange(network.far_addresses[0], ROUNDS, SIZE)
        done = record(tmp_path / "x.offwake", exchange)
    explained = waits = 0
    for worker in ("server", "client"):
        ready = set[int]()
        tid, port = done.document[worker], done.document[f"{worker}_port"]
        for event in events(done.path):
            if event["event"] == "tcp_data_ready" and event["local_port"] == port:
                ready.add(event["cpu"])
            elif event["event"] == "sched_waking" and event["target"] == tid:
                explained += event["cpu"] in ready
                ready.clear()
        stacks = ask("folded", done.path, "--view", "off-cpu", "--tid", str(tid), "--all", "--json")["stacks"]
        waits += sum(stack["count"] for stack in stacks if "sk_wait_data_[k]" in stack["frames"])
    assert explained >= waits > ROUNDS // 2, "one of the two waits in every round: they may share a CPU"


def test_nothing_is_recorded_of_data_that_nobody_waits_for_nor_of_other_protocols(tmp_path: Path) -> None:
    """Nor over loopback, where the sender itself wakes."""
    done = record(tmp_path / "x.offwake", [sys.executable, "-c", NOBODY_WAITS])
    found = [event for event in events(done.path) if event.get("tid") == done.document["sender"]]
    kinds = {event["event"] for event in found}
    assert "tcp_first_send" in kinds
    assert "tcp_data_ready" not in kinds
