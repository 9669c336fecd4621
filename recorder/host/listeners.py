"""Which processes serve others: those that hold a socket on which connections are accepted.

A server that waits for the next request waits for work, and the analyzer takes this as evidence. Looked up before the
capture begins and when it has ended, so that it disturbs nothing that is measured, at 0.15 ms a process; at most some
thousand descriptors of each are looked at, and no connections.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice, takewhile

from offwake.recorder.host.snapshot import processes

__all__ = ["listeners"]

TCP_LISTEN = "0A"  # include/net/tcp_states.h
ACCEPTS = 1 << 16  # __SO_ACCEPTCON, include/linux/net.h
DESCRIPTORS_AT_MOST = 4096
# Flags and inode of a row of /proc/net/unix. The name behind them is anybody's to choose, line ends and all.
UNIX = re.compile(r"[0-9a-f]+: [0-9A-F]{8} [0-9A-F]{8} ([0-9A-F]{8}) [0-9A-F]{4} [0-9A-F]{2} +(\d+)", re.ASCII)


def listeners() -> list[int]:
    """Return the ids of processes that hold a listening socket: TCP, or a Unix one that accepts connections.

    A child of such a process counts too if it runs the same program: a PostgreSQL backend closes the socket that its
    postmaster listens on. (The same program, because an init system listens for many of its children.)
    """
    pids = list(processes())
    sockets = set(_listening_sockets(pids))
    holders = {pid for pid in pids if _holds(pid, sockets)}
    heirs = {pid for pid in pids if (parent := _parent(pid)) in holders and _program(pid) == _program(parent)}
    return sorted(holders | heirs)


def _listening_sockets(pids: list[int]) -> Iterator[str]:
    """Yield the listening sockets of all network namespaces that processes are in, as links of /proc/PID/fd show them."""
    read = set()
    for pid in pids:
        with suppress(OSError):  # it is gone, or refuses even root
            namespace = os.stat(f"/proc/{pid}/ns/net").st_ino
            if namespace not in read:
                yield from (f"socket:[{inode}]" for inode in _listening_inodes(f"/proc/{pid}/net"))
                read.add(namespace)


def _listening_inodes(net: str) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        with suppress(FileNotFoundError), open(f"{net}/{name}") as file:  # a kernel may have no IPv6
            next(file)
            # Listening sockets come first (tcp_get_idx): the connections, of which there may be many, are not gone through.
            yield from (row[9] for row in takewhile(lambda row: row[3] == TCP_LISTEN, map(str.split, file)))
    with open(f"{net}/unix", errors="surrogateescape") as file:
        yield from (row[2] for row in map(UNIX.match, file) if row and int(row[1], 16) & ACCEPTS)


def _holds(pid: int, sockets: set[str]) -> bool:
    with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in islice(entries, DESCRIPTORS_AT_MOST):
            with suppress(OSError):
                if os.readlink(entry.path) in sockets:
                    return True
    return False


def _parent(pid: int) -> int:
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])
    return 0


def _program(pid: int) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe")
    return ""
