"""Listeners: who holds a socket on which connections are accepted, or is the child of one that does."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from offwake.recorder.host.listeners import listeners

HELPER = """
import os, socket
def tcp(kind=socket.SOCK_STREAM, family=socket.AF_INET):
    made = socket.socket(family, kind)
    made.bind(("", 0))
    return made
def unix(kind=socket.SOCK_STREAM):
    made = socket.socket(socket.AF_UNIX, kind)
    made.bind("\\0offwake test " + str(os.getpid()))
    return made
def accepting(made):
    made.listen()
    return made
def connected():
    server = accepting(tcp())
    client = socket.create_connection(("127.0.0.1", server.getsockname()[1]))
    kept = client, server.accept()
    server.close()
    return kept
def ready():
    os.write(1, f"{{os.getpid()}}\\n".encode())
    os.read(0, 1)
kept = {what}
def child():
    if os.fork():
        return
    kept.close()
    {child}
    ready()
    os._exit(0)
if {child!r}:
    child()
ready()
"""
CLOSES_IT = "pass"
BECOMES_CAT = "os.system('echo $PPID'); os.execlp('cat', 'cat')"


@contextmanager
def running(what: str, child: str = "") -> Iterator[list[int]]:
    """Run a program that holds a socket, and a child of it that closes it and goes on; their ids, the program's first."""
    code = HELPER.format(what=what, child=child)
    with (
        subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as program,
        ExitStack() as stack,
    ):
        assert program.stdin and program.stdout
        stack.callback(program.stdin.close)
        said = {int(program.stdout.readline()) for _ in range(2 if child else 1)}
        yield [program.pid, *said - {program.pid}]


@pytest.mark.parametrize(
    "what",
    ["accepting(tcp())", "accepting(tcp(family=socket.AF_INET6))", "accepting(unix())"],
)
def test_a_process_that_holds_a_listening_socket(what: str) -> None:
    with running(what) as [program]:
        assert program in listeners()


@pytest.mark.parametrize(
    "what",
    ["None", "tcp()", "tcp(socket.SOCK_DGRAM)", "unix()", "unix(socket.SOCK_DGRAM)", "connected()"],
)
def test_a_process_whose_sockets_accept_nothing(what: str) -> None:
    with running(what) as [program]:
        assert program not in listeners()


def test_a_child_that_closed_the_socket_and_serves_one_client() -> None:
    with running("accepting(tcp())", CLOSES_IT) as [program, child]:
        assert {program, child} <= set(listeners())


def test_a_child_that_became_another_program() -> None:
    with running("accepting(tcp())", BECOMES_CAT) as [program, child]:
        python = Path(f"/proc/{program}/exe").readlink()
        end = time.monotonic() + 30
        while Path(f"/proc/{child}/exe").readlink() == python:
            assert time.monotonic() < end
            time.sleep(0.01)
        found = listeners()
    assert program in found
    assert child not in found


@pytest.mark.parametrize("mischief", ["mischief", "1 2 3 nothing 5 6 7", "00000000: 1 2 3"])
def test_a_name_that_breaks_the_line_it_stands_in(mischief: str) -> None:
    with socket.socket(socket.AF_UNIX) as mischievous, running("accepting(unix())") as [program]:
        mischievous.bind(f"\0offwake test\n{mischief}")
        assert program in listeners()
