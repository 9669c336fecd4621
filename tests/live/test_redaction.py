"""`--redact`: nothing of the host's name, of the recorded command's words and of anybody's IP addresses is in the file."""

import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from offwake.format.reader import TraceReader
from tests.live.harness import OFFWAKE, ask, offwake

HOST, ARGUMENT = "planted-host-7c1e", "planted-argument-5b2f"
ADDRESSES = ["198.51.100.213", "203.0.113.186", "2001:db8:9d3c:51e7::b3a6", "2001:db8:6f8e:c2b9::94d7"]

OF_ITS_OWN = """
import fcntl, os, socket, struct, sys
host, addresses, command = sys.argv[1], sys.argv[2].split(), sys.argv[3:]
socket.sethostname(host)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
    fcntl.ioctl(four, 0x8914, struct.pack("16sh22x", b"lo", 0x41))  # SIOCSIFFLAGS: up and running
    for number, address in enumerate(addresses):
        if ":" in address:  # SIOCSIFADDR
            fcntl.ioctl(six, 0x8916, socket.inet_pton(socket.AF_INET6, address) + struct.pack("Ii", 128, 1))
        else:
            name = b"lo:%d" % number
            fcntl.ioctl(four, 0x8916, struct.pack("16sHH4s16x", name, socket.AF_INET, 0, socket.inet_aton(address)))
os.execv(command[0], command)
"""
"""A host name and addresses that are there in namespaces of their own, in which a command is run."""

TALK = """
import socket, sys, threading, time
def serve(server):
    connection, _ = server.accept()
    with connection:
        while octets := connection.recv(100):
            time.sleep(0.01)
            connection.send(octets)
for address in sys.argv[1].split():
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        threading.Thread(target=serve, args=(server,)).start()
        with socket.create_connection(server.getsockname()[:2], source_address=(address, 0)) as client:
            for _ in range(5):
                client.send(b"x")
                client.recv(100)
    with socket.socket(family) as client:
        client.bind((address, 0))
        client.connect_ex((address, 9))
"""
"""A program with a word that it makes nothing of, and with connections from each address to itself; one is refused."""
SOURCES = "sched,on-cpu,block,tcp-rtt,tcp-bytes,net-stack,tcp-stats"


@dataclass(frozen=True)
class Planted:
    """A recording, and all that can be read in it."""

    path: Path
    octets: bytes

    def told(self, *forms: bytes) -> bool:
        return any(form in self.octets for form in forms)


@pytest.fixture(scope="module")
def recorded_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Planted]:
    folder = tmp_path_factory.mktemp("redaction")
    script = folder / "talk.py"
    script.write_text(TALK)

    def record(*options: str) -> Planted:
        where = folder / ("redacted" if options else "plain")
        if not where.exists():
            where.mkdir()
            command: list[str | Path] = [sys.executable, script, " ".join(ADDRESSES), ARGUMENT]
            planted: list[str | Path] = [sys.executable, "-c", OF_ITS_OWN, HOST, " ".join(ADDRESSES)]
            recorder: list[str | Path] = [OFFWAKE, "record", "--sources", SOURCES, *options, "--", *command]
            subprocess.run(["unshare", "--uts", "--net", *planted, *recorder], check=True, cwd=where)
        (path,) = where.iterdir()
        with TraceReader.open(path) as reader:
            payloads = [reader.payload(block) or b"" for block in reader.blocks]
        return Planted(path, b"".join([path.name.encode(), path.read_bytes(), *payloads]))

    return record


def forms_of(word: str) -> list[bytes]:
    return [word.encode(), word.encode("utf-16-le"), word[::-1].encode()]


def forms_of_address(address: str) -> list[bytes]:
    known = ipaddress.ip_address(address)
    packed = known.packed
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    swapped = b"".join(word[::-1] for word in words)
    return [packed, packed[::-1], swapped, packed.hex().encode(), known.exploded.encode(), str(known).encode()]


def test_a_recording_tells_what_was_planted_unless_it_is_redacted(recorded_with: Callable[..., Planted]) -> None:
    plain, redacted = recorded_with(), recorded_with("--redact")
    for word in (HOST, ARGUMENT):
        assert plain.told(*forms_of(word))
        assert not redacted.told(*forms_of(word)), word
    assert all(plain.told(*forms_of_address(address)) for address in ADDRESSES)
    told = [address for address in ADDRESSES if redacted.told(*forms_of_address(address))]
    assert len(told) < 2, told  # four octets may be anything by chance, those of two addresses may not


def test_everything_says_that_it_is_redacted(recorded_with: Callable[..., Planted]) -> None:
    plain, redacted = recorded_with().path, recorded_with("--redact").path
    info = ask("info", redacted, "--json")
    assert (info["redacted"], info["host"], info["command"]) == (True, "(redacted)", [])
    assert "no command lines, host names or IP addresses" in offwake("info", redacted).stdout
    assert (ask("info", plain, "--json")["redacted"], ask("info", plain, "--json")["host"]) == (False, HOST)


def test_sessions_are_there_without_their_addresses(recorded_with: Callable[..., Planted]) -> None:
    plain, redacted = (ask("table", recorded_with(*o).path, "--of", "tcp-sessions", "--json") for o in ((), ("--redact",)))
    assert {row["remote"] for row in plain} >= {*ADDRESSES}
    assert {row["remote"] for row in redacted} == {row["local"] for row in redacted} == {None}
    ours = [row for row in redacted if row["rx_bytes"] == 5]
    assert len(ours) == 2 * len(ADDRESSES)
    assert all(row["local_port"] and row["remote_port"] for row in ours)


@pytest.mark.parametrize("of", ["tcp-states", "tcp-top", "tcp-windows", "tcp-drops", "tcp-stats", "net-stack"])
def test_no_table_of_a_redacted_recording_has_an_address(recorded_with: Callable[..., Planted], of: str) -> None:
    rows = ask("table", recorded_with("--redact").path, "--of", of, "--json")
    ends = ("source", "destination") if of == "tcp-drops" else ("local", "remote")
    assert {row[end] for row in rows for end in ends} == {None}


def test_a_redacted_recording_is_whole(recorded_with: Callable[..., Planted]) -> None:
    path = recorded_with("--redact").path
    assert offwake("verify", path).returncode == 0
    assert json.loads(offwake("info", path, "--json").stdout)["complete"] is True
    frames = {frame for stack in ask("folded", path, "--all", "--json")["stacks"] for frame in stack["frames"]}
    assert any(frame.startswith("py::serve:") for frame in frames)
    assert os.fspath(path.parent.parent / "talk.py") in {frame.split(":")[-1] for frame in frames}  # paths are kept
