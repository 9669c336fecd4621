"""Whose a TCP event was, and between which ends: the events of sockets, joined to their sessions."""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.decode import Rows
from offwake.analyzer.latest import NONE
from offwake.analyzer.replay import Batch
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column
from offwake.analyzer.tcp import Owner, Sessions

__all__ = [
    "AF_INET",
    "COLUMNS",
    "FIELDS",
    "Connection",
    "Events",
    "Gathering",
    "Owners",
    "address",
    "connection_events",
    "gather",
    "port",
]

COLUMNS = (
    Column("pid", "id"),
    Column("comm", "text"),
    Column("local", "text"),
    Column("local_port", "id"),
    Column("remote", "text"),
    Column("remote_port", "id"),
    Column("family", "text"),
)
FIELDS = ("comm", "pid", "local", "remote", "prefix", "remote_port", "family")
"""By which events of connections can be told apart. A prefix is a remote network: /24 of IPv4, /64 of IPv6."""
AF_INET = 2
PREFIXES = {4: 24, 6: 64}


@dataclass(frozen=True)
class Connection:
    """One end's process, and both ends; None for what is not known."""

    pid: int | None = None
    comm: str | None = None
    local: str | None = None
    local_port: int | None = None
    remote: str | None = None
    remote_port: int | None = None
    family: str | None = None

    @property
    def prefix(self) -> str | None:
        """The network of the remote end."""
        if self.remote is None:
            return None
        remote = ipaddress.ip_address(self.remote)
        return str(ipaddress.ip_network((remote, PREFIXES[remote.version]), strict=False))

    def cells(self) -> dict[str, Any]:
        """Return the values of COLUMNS."""
        return dict(vars(self))

    def words(self, field: str) -> str:
        """Return one of FIELDS as a label."""
        value = getattr(self, field)
        return "[unknown]" if value is None else str(value)


@dataclass(frozen=True)
class Events:
    """Selected events of one kind in the order of time, and their connections: `which` (int64, N) of `connections`.

    `session` (int64, N) is each one's place among all sessions, −1 where it has none.
    """

    rows: Rows
    which: NDArray[np.int64]
    connections: list[Connection]
    session: NDArray[np.int64]

    def __iter__(self) -> Iterator[tuple[int, Connection, Any]]:
        """Yield each event's time, connection and payload."""
        for time_ns, which, row in zip(self.rows.time_ns.tolist(), self.which.tolist(), self.rows.payload, strict=True):
            yield time_ns, self.connections[which], row


def gather(scope: Scope, *kinds: str) -> tuple[Sessions, dict[str, Rows]]:
    """Make the pass of a scope: return its sessions, and the events of some kinds that there are, in the order of time."""
    gathering = Gathering(kinds)
    gathering.take(scope)
    return gathering.sessions, gathering.rows()


class Gathering:
    """Takes the batches of a pass: follows sessions, and keeps the events of some kinds."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.sessions = Sessions()
        self._kinds = kinds
        self._parts: dict[str, list[Rows]] = {}

    def feed(self, batch: Batch) -> None:
        """Take a batch."""
        self.sessions.feed(batch)
        for kind in self._kinds:
            if kind in batch.events:
                self._parts.setdefault(kind, []).append(batch.events[kind])

    def take(self, scope: Scope) -> None:
        """Take all batches of a scope's pass."""
        for batch in scope.replay:
            self.feed(batch)

    def rows(self) -> dict[str, Rows]:
        """Return the events of the kinds that there are, in the order of time."""
        joined = {kind: Rows.joined(rows) for kind, rows in self._parts.items()}
        return {kind: rows.where(np.argsort(rows.time_ns, kind="stable")) for kind, rows in joined.items()}


def connection_events(scope: Scope, sessions: Sessions, rows: Rows, by_event: bool = False) -> Events:
    """Join events to their sessions, and return those that are selected; the pass must be complete.

    Whose an event is its session's owner says, or `by_event` the thread that it happened in. Where nothing is known of a
    session, its ends are those that the event itself names.
    """
    socket = rows.payload["socket"]
    session = sessions.of(socket, rows.time_ns)
    tid = rows.payload["tid"].astype(np.int64) if by_event else np.zeros(len(rows), np.int64)
    keys = np.stack([session, np.where(session == NONE, socket.astype(np.int64), 0), tid])
    _, first, which = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    which, found, chosen = which.reshape(-1), [], []
    known_of = [sessions.all[place] if place != NONE else None for place in session[first].tolist()]
    if by_event:
        whose: list[Owner | None] = list(zip(tid[first].tolist(), rows.time_ns[first].tolist(), strict=True))
    else:
        whose = [known.owner if known else None for known in known_of]
    owners = Owners(scope, whose)
    for known, owner, index in zip(known_of, whose, first.tolist(), strict=True):
        found.append(owners.connection(owner, known.seen if known else rows.payload[index]))
        chosen.append(owners.is_selected(owner, found[-1]))
    kept = np.array(chosen, np.bool_)[which] & scope.within(rows.time_ns)
    return Events(rows.where(kept), which[kept], found, session[kept])


class Owners:
    """Knows of a complete pass which processes threads belonged to, what they were called, and whether they are selected."""

    def __init__(self, scope: Scope, owners: Iterable[Owner | None]) -> None:
        self._scope, timeline = scope, scope.replay.timeline
        known = sorted({owner for owner in owners if owner})
        tids, times = np.array(known, np.int64).reshape(-1, 2).T
        self._places = dict(zip(known, timeline.places(tids, times).tolist(), strict=True))

    def connection(self, owner: Owner | None, seen: Any) -> Connection:
        """Return the connection of a thread that a payload has the addresses of, as far as it has them."""
        place, pid, comm, names = self._places.get(owner, NONE) if owner else NONE, None, None, seen.dtype.names
        if place >= 0:
            thread = self._scope.replay.timeline.threads[place]
            pid = int(thread["tgid"])
            comm = self._scope.replay.names.texts[thread["name"]] if thread["name"] >= 0 else None
        if "local4" not in names:
            return Connection(pid, comm)
        is_ipv4 = int(seen["family"]) == AF_INET
        local, remote = ("local4", "remote4") if is_ipv4 else ("local6", "remote6")
        hidden = self._scope.recording.redacted
        return Connection(
            pid,
            comm,
            None if hidden else address(seen[local].tobytes()),
            int(seen["local_port"]) or None,  # not chosen yet, and given back since
            None if hidden else address(seen[remote].tobytes()),
            port(int(seen["remote_port_be"])),
            "IPv4" if is_ipv4 else "IPv6",
        )

    def is_selected(self, owner: Owner | None, connection: Connection) -> bool:
        """Tell whether the thread is selected, and not of the recorder's own."""
        scope, pid, tid = self._scope, connection.pid, owner[0] if owner else None
        cgroup = "" if pid is None else scope.replay.cgroups.path(pid)
        return pid not in scope.recording.own_pids and scope.selection.fits(tid, pid, connection.comm, cgroup)


def address(octets: bytes) -> str:
    """Print an address as it lies in memory: four or sixteen bytes; an IPv4 address inside IPv6 as IPv4."""
    found = ipaddress.ip_address(octets)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def port(big_endian: int) -> int:
    """Return a port as it lies in memory, read as a little-endian number."""
    return int.from_bytes(big_endian.to_bytes(2, "little"), "big")
