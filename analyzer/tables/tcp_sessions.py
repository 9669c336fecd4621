"""`tcp-sessions`: every TCP session from its first state to its end, with the process that owns it.

Sessions are told apart by the kernel's socket address, from the first state change until the socket is destroyed. The
current thread owns the socket at SYN_SENT and at the first send or receive; at accept time and at CLOSE it is a stranger.
"""

import ipaddress
from dataclasses import dataclass
from typing import Any

from offwake.analyzer.replay import Batch
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table

__all__ = ["table"]

COLUMNS = (
    Column("start_ns", "ns"),
    Column("pid", "id"),
    Column("comm", "text"),
    Column("local", "text"),
    Column("local_port", "id"),
    Column("remote", "text"),
    Column("remote_port", "id"),
    Column("family", "text"),
    Column("state", "text"),
    Column("duration_ns", "ns"),
    Column("tx_bytes", "bytes"),
    Column("rx_bytes", "bytes"),
    Column("retransmits", "count"),
)

# include/net/tcp_states.h
STATES = (
    "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK",
    "LISTEN", "CLOSING", "NEW_SYN_RECV",
)  # fmt: skip
ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, CLOSE = 1, 2, 3, 4, 5, 7
CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING = 8, 9, 10, 11
AF_INET, AF_INET6 = 2, 10
KINDS = ("tcp_state", "tcp_first_send", "tcp_first_receive", "tcp_retransmit", "tcp_receive_reset", "tcp_destroy")


@dataclass
class _Session:
    """What is known of one socket so far."""

    start_ns: int | None  # None where its beginning was not seen
    seen: Any  # the payload that has the addresses
    owner: int | None = None
    state: int = 0
    end_ns: int | None = None
    acked_before: int | None = None  # bytes_acked when it was established: 1 where the SYN was ours, else 0
    received_at_fin_wait2: int = 0
    own_fin_acked: bool = False
    peer_fin_received: bool = False
    was_reset: bool = False
    tx_bytes: int | None = None
    rx_bytes: int | None = None
    retransmits: int = 0

    def note_fins(self, old: int, new: int, received: int) -> None:
        """Learn from a state change whether the FINs are in the kernel's counters."""
        self.own_fin_acked |= (old == FIN_WAIT1 and new == FIN_WAIT2) or (old == CLOSING and new == CLOSE)
        self.own_fin_acked |= old == LAST_ACK and new == CLOSE and not self.was_reset
        self.peer_fin_received |= new in (CLOSE_WAIT, CLOSING)
        if new == FIN_WAIT2:
            self.received_at_fin_wait2 = received
        elif old == FIN_WAIT2:  # nothing but the FIN ends this state, unless it ends without another byte
            self.peer_fin_received |= received > self.received_at_fin_wait2


class _Sessions:
    """Follows sockets through a recording."""

    def __init__(self) -> None:
        self.ended: list[_Session] = []
        self.open: dict[int, _Session] = {}

    def feed(self, batch: Batch) -> None:
        """Take a batch's TCP events, in the order of time."""
        events = []
        for order, kind in enumerate(KINDS):
            if kind in batch.events:
                rows = batch.events[kind]
                events += [(time, order, row) for time, row in zip(rows.time_ns.tolist(), rows.payload, strict=True)]
        for time_ns, order, row in sorted(events, key=lambda event: event[:2]):
            self._take(KINDS[order], time_ns, row)

    def _take(self, kind: str, time_ns: int, row: Any) -> None:
        socket = int(row["socket"])
        if kind == "tcp_destroy":
            if session := self.open.pop(socket, None):
                self.ended.append(session)
        elif kind == "tcp_retransmit":
            if session := self.open.get(socket):
                session.retransmits += 1
        elif kind == "tcp_receive_reset":
            if session := self.open.get(socket):
                session.was_reset = True
        elif kind == "tcp_state":
            self._change(socket, time_ns, row)
        else:
            session = self.open.setdefault(socket, _Session(None, row))
            session.owner = session.owner or int(row["tid"])
            session.state = session.state or ESTABLISHED

    def _change(self, socket: int, time_ns: int, row: Any) -> None:
        old, new = int(row["old_state"]), int(row["new_state"])
        if LISTEN in (old, new):
            return
        session = self.open.get(socket)
        if session is None or session.state == CLOSE:
            if session:
                self.ended.append(session)
            begins = new == SYN_SENT or old == SYN_RECV  # a connection that comes in is in SYN_RECV for a moment only
            session = self.open[socket] = _Session(time_ns if begins else None, row)
        session.state = new
        if int(row["local_port"]):  # the port is given back before CLOSE
            session.seen = row
        if new in (SYN_SENT, LAST_ACK, FIN_WAIT1):
            session.owner = session.owner or int(row["tid"]) or None
        acked, received = int(row["bytes_acked"]), int(row["bytes_received"])
        session.note_fins(old, new, received)
        if new == ESTABLISHED:
            session.acked_before = acked
        elif new == CLOSE:
            session.end_ns = time_ns
            session.rx_bytes = received - session.peer_fin_received
            if session.acked_before is not None:
                session.tx_bytes = acked - session.acked_before - session.own_fin_acked


def table(scope: Scope) -> Table:
    """Return a row a session, in the order of their start. What is not known is None.

    A session whose beginning was not seen has neither start nor duration, and comes first, as if it had been there when
    the recording began. `duration_ns` runs to the recording's end for a session that is still open. Bytes are the kernel's
    `bytes_acked` and `bytes_received` at CLOSE, less the SYN and the FINs that they count; None for a session that has not
    closed, and for what was sent in one that was established before the recording: whose SYN it was, is not known. Selected
    are sessions that overlap the selected time; `min_ns` and `max_ns` bound their duration, where it is known.
    """
    recording, replay, selection, sessions = scope.recording, scope.replay, scope.selection, _Sessions()
    for batch in replay:
        sessions.feed(batch)
    names, tgids = replay.tid_names(), replay.tid_tgids()
    found = []
    for session in (*sessions.ended, *sessions.open.values()):
        ended_ns = recording.ended_ns if session.end_ns is None else session.end_ns
        row = _row(session, recording.began_ns, ended_ns)
        pid, comm = tgids.get(session.owner), names.get(session.owner)
        if recording.redacted:
            row |= {"local": None, "remote": None}
        if (
            recording.began_ns + (row["start_ns"] or 0) < scope.end_ns
            and ended_ns >= scope.begin_ns
            and selection.lasts(row["duration_ns"])
            and pid not in recording.own_pids
            and selection.fits(session.owner, pid, comm, "" if pid is None else replay.cgroups.path(pid))
        ):
            found.append(row | {"pid": pid, "comm": comm})
    found.sort(key=lambda row: (row["start_ns"] or 0, row["local_port"]))
    return Table("tcp-sessions", COLUMNS, found)


def _row(session: _Session, began_ns: int, ended_ns: int) -> dict[str, Any]:
    start_ns = session.start_ns
    seen, is_ipv4 = session.seen, int(session.seen["family"]) == AF_INET
    local, remote = ("local4", "remote4") if is_ipv4 else ("local6", "remote6")
    return {
        "start_ns": None if start_ns is None else start_ns - began_ns,
        "pid": None,
        "comm": None,
        "local": _address(seen[local]),
        "local_port": int(seen["local_port"]),
        "remote": _address(seen[remote]),
        "remote_port": int.from_bytes(int(seen["remote_port_be"]).to_bytes(2, "little"), "big"),
        "family": "IPv4" if is_ipv4 else "IPv6",
        "state": STATES[session.state] if session.state < len(STATES) else str(session.state),
        "duration_ns": None if start_ns is None else ended_ns - start_ns,
        "tx_bytes": session.tx_bytes,
        "rx_bytes": session.rx_bytes,
        "retransmits": session.retransmits,
    }


def _address(value: Any) -> str:
    """Print an address as it lies in memory: four or sixteen bytes; an IPv4 address inside IPv6 as IPv4."""
    octets = value.tobytes()
    address = ipaddress.ip_address(octets)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
