"""TCP sessions and states beside libbpf-tools' tcplife and tcpstates on the same connections, and iperf3's own bytes."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.harness import Recorded, record, wait_until, with_tracefs
from tests.live.networks import veth

MEGABYTES = 64
COOKIE = 37  # bytes with which each connection of iperf3 begins
ROUNDS = 31
CONNECTIONS = f"""
import json, socket, threading
def serve():
    for _ in range({ROUNDS}):
        with listener.accept()[0] as asked:
            asked.send(asked.recv(1009, socket.MSG_WAITALL))
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve).start()
for _ in range({ROUNDS}):
    with socket.create_connection(listener.getsockname()) as asking:
        asking.send(bytes(1009))
        while asking.recv(1009):
            pass
print(json.dumps(dict(port=listener.getsockname()[1])))
"""
Lines = list[list[str]]


@dataclass(frozen=True)
class Tool:
    """A tool that writes a line a session, or a change of state, into a file."""

    file: Path

    def lines(self, port: int) -> Lines:
        """The words of its lines about a port, as far as it has got."""
        lines = [line.split() for line in self.file.read_text().splitlines()]
        return [words for words in lines if str(port) in words]


@contextmanager
def watching(name: str, folder: Path) -> Iterator[Tool]:
    """Run a tool beside the block."""
    tool = Tool(folder / name)
    with tool.file.open("w") as output:
        process = subprocess.Popen(with_tracefs("stdbuf", "-oL", name), stdout=output)
    with process:
        try:
            wait_until(lambda: "PID" in tool.file.read_text(), f"{name} prints its headings")
            yield tool
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recorded, Lines, Lines]:
    """A recording of connections, and the lines of tcplife and tcpstates on them."""
    folder = tmp_path_factory.mktemp("watched")
    with watching("tcplife", folder) as life, watching("tcpstates", folder) as states:
        recorded = record(folder / "x.offwake", [sys.executable, "-c", CONNECTIONS])
        port, rows = recorded.document["port"], recorded.table("tcp-states")
        changes = sum(port in (row["local_port"], row["remote_port"]) for row in rows)
        wait_until(lambda: len(life.lines(port)) >= 2 * ROUNDS, "tcplife has printed both ends of all connections")
        wait_until(lambda: len(states.lines(port)) >= changes, "tcpstates has printed as many changes as there are")
        return recorded, life.lines(port), states.lines(port)


def test_sessions_are_those_of_tcplife(watched: tuple[Recorded, Lines, Lines]) -> None:
    recorded, life, _ = watched
    port = recorded.document["port"]
    ours = [row for row in recorded.table("tcp-sessions") if port in (row["local_port"], row["remote_port"])]
    assert len(ours) == len(life) == 2 * ROUNDS
    ends = Counter((row["local"], row["local_port"], row["remote"], row["remote_port"]) for row in ours)
    assert ends == Counter((words[2], int(words[3]), words[4], int(words[5])) for words in life)
    assert {(row["tx_bytes"], row["rx_bytes"]) for row in ours} == {(1009, 1009)}
    assert {(row["pid"], row["comm"]) for row in ours} == {(int(life[0][0]), life[0][1])}


def test_changes_of_state_are_those_of_tcpstates(watched: tuple[Recorded, Lines, Lines]) -> None:
    recorded, _, states = watched
    port = recorded.document["port"]
    rows = [row for row in recorded.table("tcp-states") if port in (row["local_port"], row["remote_port"])]
    ours = Counter((row["local_port"] == port, row["old_state"], row["new_state"]) for row in rows)
    theirs = Counter((words[4] == str(port), words[7], words[9]) for words in states)
    assert ours == theirs
    assert ours[True, "LISTEN", "SYN_RECV"] == ours[False, "SYN_SENT", "ESTABLISHED"] == ROUNDS


def test_bytes_are_those_that_iperf3_counts(tmp_path: Path) -> None:
    with veth() as network:
        address = network.far_addresses[0]
        server = ["ip", "netns", "exec", network.far, "iperf3", "--server", "--one-off", "--forceflush"]
        with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            while "listening" not in process.stdout.readline():
                assert process.poll() is None
            client = ["ip", "netns", "exec", network.near, "iperf3", "--client", address, "--json", "-n", f"{MEGABYTES}M"]
            recorded = record(tmp_path / "iperf.offwake", [*client], sources="sched,tcp-bytes")
            process.communicate()
    [stream] = recorded.document["end"]["streams"]
    [connection] = recorded.document["start"]["connected"]
    sent, received = stream["sender"]["bytes"], stream["receiver"]["bytes"]
    port = connection["local_port"]
    [near] = [row for row in recorded.table("tcp-sessions") if row["local_port"] == port]
    [far] = [row for row in recorded.table("tcp-sessions") if row["remote_port"] == port]
    assert (near["comm"], far["comm"]) == ("iperf3", "iperf3")
    top = recorded.table("tcp-top")
    assert sum(row["tx_bytes"] for row in top if row["local_port"] == port) == sent + COOKIE > MEGABYTES << 20
    assert sum(row["rx_bytes"] for row in top if row["remote_port"] == port) == received + COOKIE
    # iperf3 hangs up on what is still on its way: sessions count what the kernels had, read or not, and acknowledged.
    assert received + COOKIE <= far["rx_bytes"] <= sent + COOKIE
    assert near["tx_bytes"] <= far["rx_bytes"]
