"""TCP packets with a bad checksum: dropped for that, and told of the connection that they seemed to belong to."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import Recorded, record
from tests.live.networks import veth

SMALL, LARGE = 7, 5
"""So many packets whose checksum the kernel looks at when they come in, and so many of which it does later."""
DATAGRAMS, NOBODYS = 3, 9  # of UDP, to a port where nobody listens
SERVER = """
import socket
with socket.create_server(("10.99.0.2", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    with listener.accept()[0] as asked:
        asked.sendall(asked.recv(1))
        asked.recv(1)
"""
CLIENT = f"""
import json, os, socket, struct, subprocess, sys
serve = subprocess.Popen(["ip", "netns", "exec", sys.argv[1], sys.executable, "-c", sys.argv[2]], stdout=subprocess.PIPE)
port = int(serve.stdout.readline())
with socket.create_connection(("10.99.0.2", port)) as asking, socket.socket(socket.AF_INET, socket.SOCK_RAW, 255) as raw:
    own = asking.getsockname()[1]
    asking.sendall(b"?")
    asking.recv(1)
    for size in [10] * {SMALL} + [200] * {LARGE}:
        header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 6, 0, *map(socket.inet_aton, ("10.99.0.1", "10.99.0.2")))
        segment = struct.pack(">HHIIBBHHH", own, port, 0, 0, 0x50, 0x10, 100, 0xBAD, 0)
        raw.sendto(header + segment + bytes(size), ("10.99.0.2", 0))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
    for _ in range({DATAGRAMS}):
        datagrams.sendto(b"?", ("10.99.0.2", {NOBODYS}))
serve.wait()
print(json.dumps(dict(client_port=own, server_port=port)))
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    with veth() as network:
        command: list[str | Path] = ["ip", "netns", "exec", network.near, sys.executable, "-c", CLIENT, network.far, SERVER]
        return record(tmp_path_factory.mktemp("checksums") / "x.offwake", command, sources="sched,tcp-stats")


def dropped(recorded: Recorded) -> list[dict[str, Any]]:
    ports = recorded.document["client_port"], recorded.document["server_port"]
    return [row for row in recorded.table("tcp-drops") if (row["source_port"], row["destination_port"]) == ports]


def test_the_reason_is_the_checksum(recorded: Recorded) -> None:
    rows = dropped(recorded)
    assert [row["reason"] for row in rows] == ["TCP_CSUM"] * (SMALL + LARGE)
    assert {(row["source"], row["destination"]) for row in rows} == {("10.99.0.1", "10.99.0.2")}
    assert {row["state"] for row in rows} == {"ESTABLISHED"}


def test_what_is_not_tcp_is_not_there(recorded: Recorded) -> None:
    addressed = [row for row in recorded.table("tcp-drops") if row["destination"] == "10.99.0.2"]
    assert addressed
    assert all(row["destination_port"] != NOBODYS for row in addressed)


def test_the_session_is_told_of_all_of_them(recorded: Recorded) -> None:
    document = recorded.document
    [stats] = [
        row
        for row in recorded.table("tcp-stats")
        if (row["local_port"], row["remote_port"]) == (document["server_port"], document["client_port"])
    ]
    assert (stats["drops"], stats["drop_reasons"]) == (SMALL + LARGE, f"TCP_CSUM {SMALL + LARGE}")
    assert {row["pid"] for row in dropped(recorded)} == {stats["pid"]} != {None}
