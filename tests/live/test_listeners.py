"""A recording knows who served others, wherever their sockets are."""

import subprocess
import sys
from pathlib import Path

import pytest

from offwake.analyzer.recording import Recording
from tests.live.harness import offwake

SERVER = "import socket; server = socket.socket(); server.bind(('', 0)); server.listen(); print(); input()"


@pytest.mark.parametrize("ends_first", [False, True])
def test_a_server_that_is_there_at_the_beginning_or_the_end_is_a_listener(tmp_path: Path, ends_first: bool) -> None:
    path = tmp_path / "x.offwake"
    with subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin and server.stdout
        server.stdout.readline()
        ends = f"kill {server.pid}; while test -e /proc/{server.pid}/fd/0; do :; done"
        result = offwake("record", "-o", path, "--", *(["sh", "-c", ends] if ends_first else ["true"]))
        server.stdin.close()
    assert result.returncode == 0, result.stderr
    with Recording.open(path) as recording:
        assert server.pid in recording.listeners


def test_a_server_in_a_network_namespace_of_its_own_is_a_listener(tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    command = ["unshare", "--net", sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin and server.stdout
        server.stdout.readline()
        result = offwake("record", "-o", path, "--duration", "0.1")
        server.stdin.write(b"\n")
        server.stdin.close()
    assert result.returncode == 0, result.stderr
    with Recording.open(path) as recording:
        assert server.pid in recording.listeners
        assert recording.recorder_pid not in recording.listeners
