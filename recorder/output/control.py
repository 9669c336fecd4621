"""How `offwake record --dump` reaches a flight recorder: an abstract socket, which is gone with the process that has it.

Both sides ask the kernel who the other is: dumps are written for root and for the recorder's owner, and only a recorder
that runs as root, or as who asks, is believed.
"""

import contextlib
import json
import os
import secrets
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from offwake.errors import CannotRecord, OutputError, UsageError

__all__ = ["ControlSocket", "ask_for_dump"]

PREFIX = "offwake-flight-"
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
REQUEST = b"dump"
WAITING_AT_MOST = 16
UNIX_SOCKETS = Path("/proc/net/unix")


class ControlSocket:
    """The recorder's side. Whoever may ask is kept waiting until `answer`."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._socket.bind(f"\0{PREFIX}{os.getpid()}-{secrets.token_hex(4)}")  # a name that nobody can take before us
        self._socket.listen(WAITING_AT_MOST)
        self._callers: list[socket.socket] = []
        self._waiting: list[socket.socket] = []
        self._owners = {0, int(os.environ.get("SUDO_UID", 0))}

    def anybody_asks(self) -> bool:
        """Hear whoever calls; tells whether anybody waits for a dump that has not begun."""
        with contextlib.suppress(OSError):  # nobody, or gone already
            while len(self._callers) + len(self._waiting) < WAITING_AT_MOST:
                caller, _ = self._socket.accept()
                caller.setblocking(False)
                self._callers.append(caller)
        self._callers = [caller for caller in self._callers if self._keeps(caller)]
        return bool(self._waiting)

    def _keeps(self, caller: socket.socket) -> bool:
        """Tell whether a caller has not said yet what it wants. A stranger is not waited for: others need its place."""
        may_ask = _peer(caller)[1] in self._owners
        try:
            request = caller.recv(len(REQUEST))
        except BlockingIOError:
            if may_ask:
                return True
            request = REQUEST
        except OSError:
            request = b""
        if request != REQUEST:
            caller.close()
        elif may_ask:
            self._waiting.append(caller)
        else:
            _send(caller, {"error": "only root and who started the recorder may ask for a dump"})
        return False

    def take(self) -> Callable[[dict[str, Any]], None]:
        """Return what answers those who wait now."""
        clients, self._waiting = self._waiting, []

        def answer(values: dict[str, Any]) -> None:
            for client in clients:
                _send(client, values)

        return answer

    def close(self) -> None:
        """Close the socket; whoever waits is told."""
        self.anybody_asks()
        self.take()({"error": "the recorder ends"})
        for caller in self._callers:
            caller.close()
        self._socket.close()


def ask_for_dump(pid: int | None) -> str:
    """Have a flight recorder, the only one unless `pid` is given, write a dump; returns the path when it is complete.

    Raises UsageError when there is none, or more than one to choose from, CannotRecord or OutputError when there will be no
    dump.
    """
    with ExitStack() as stack:
        running = {recorder: client for recorder, client in _recorders(stack) if pid in (None, recorder)}
        if not running:
            which = "no flight recorder is running" if pid is None else f"process {pid} is no flight recorder"
            raise CannotRecord(f"{which}; `offwake record --flight-recorder SECONDS` starts one")
        if len(running) > 1:
            choice = ", ".join(map(str, sorted(running)))
            raise UsageError(f"several flight recorders are running: give --dump one of {choice}")
        [(recorder, client)] = running.items()
        said = b""
        try:
            with contextlib.suppress(BrokenPipeError):  # it has answered already
                client.sendall(REQUEST)
            with contextlib.suppress(ConnectionResetError):  # without having heard us
                while part := client.recv(4096):
                    said += part
        except OSError as error:
            raise CannotRecord(f"process {recorder}, a flight recorder, does not answer: {error.strerror}") from error
    if not said:
        raise CannotRecord(f"process {recorder}, a flight recorder, has ended before the dump was written")
    answer = json.loads(said)
    if "error" in answer:
        raise OutputError(f"process {recorder}, a flight recorder: {answer['error']}")
    return str(answer["path"])


def _recorders(stack: ExitStack) -> Iterator[tuple[int, socket.socket]]:
    """Yield the processes that can be asked, each with a connection, as far as they are to be believed."""
    # Names are anybody's to choose, line ends and all; ours have neither those nor spaces.
    for name in {word for word in UNIX_SOCKETS.read_text(errors="replace").split() if word.startswith(f"@{PREFIX}")}:
        name = name.removeprefix("@")
        pid = name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal():
            client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            with contextlib.suppress(OSError):  # gone meanwhile
                client.connect(f"\0{name}")
                owner, uid, _ = _peer(client)
                if owner == int(pid) and uid in (0, os.geteuid()):
                    yield owner, client


def _peer(connected: socket.socket) -> tuple[int, int, int]:
    pid, uid, gid = CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return pid, uid, gid


def _send(client: socket.socket, values: dict[str, Any]) -> None:
    with client, contextlib.suppress(OSError):  # it does not wait any more
        client.sendall(json.dumps(values).encode())
