"""TCP sessions as the events of their sockets tell them: from the first state to the end, with the thread that owns each.

Sessions are told apart by the kernel's socket address, from the first state change until the socket is destroyed. The
current thread owns the socket at SYN_SENT and at the first send or receive; at accept time and at CLOSE it is a stranger.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.latest import latest
from offwake.analyzer.replay import Batch

__all__ = ["Change", "Owner", "Session", "Sessions", "state_name"]

# include/net/tcp_states.h
STATES = (
    "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK",
    "LISTEN", "CLOSING", "NEW_SYN_RECV",
)  # fmt: skip
ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, CLOSE = 1, 2, 3, 4, 5, 7
CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING = 8, 9, 10, 11
KINDS = (
    "tcp_state", "tcp_first_send", "tcp_first_receive", "tcp_retransmit", "tcp_send_reset", "tcp_receive_reset",
    "tcp_destroy",
)  # fmt: skip

def state_name(state: int) -> str:
    """Return what the kernel calls a state."""
    return STATES[state] if state < len(STATES) else str(state)


@dataclass(frozen=True)
class Change:
    """A change of state, when it was, and how long the old one had lasted; None where nobody saw it begin."""

    time_ns: int
    old: int
    new: int
    lasted_ns: int | None


Owner = tuple[int, int]
"""A thread's id, and when it had that."""


@dataclass
class Session:
    """What is known of one socket so far. Times are CLOCK_MONOTONIC; `opened_ns` is when it was first heard of.

    Some sockets only listen: they are no session, and are known for whose they are.
    """

    socket: int
    opened_ns: int
    start_ns: int | None  # None where its beginning was not seen
    seen: Any  # the payload that has the addresses
    owner: Owner | None = None
    listens: bool = False
    state: int = 0
    asked_ns: int | None = None
    connected_ns: int | None = None
    end_ns: int | None = None
    acked_before: int | None = None  # bytes_acked when it was established: 1 where the SYN was ours, else 0
    received_at_fin_wait2: int = 0
    own_fin_acked: bool = False
    peer_fin_received: bool = False
    tx_bytes: int | None = None
    rx_bytes: int | None = None
    retransmits: int = 0
    resets_sent: int = 0
    resets_received: int = 0
    changes: list[Change] = field(default_factory=list)

    @property
    def connect_ns(self) -> int | None:
        """How long the other side took to answer the SYN; None where it did not, was the one to ask, or nobody saw it."""
        return None if self.asked_ns is None or self.connected_ns is None else self.connected_ns - self.asked_ns

    def note_owner(self, tid: int, time_ns: int) -> None:
        """Note whose it is: the first thread that is known to have done something with it."""
        if tid and self.owner is None:
            self.owner = tid, time_ns

    def note_change(self, time_ns: int, old: int, new: int) -> None:
        """Take over a new state."""
        lasted_ns = time_ns - self.changes[-1].time_ns if self.changes else None
        self.changes.append(Change(time_ns, old, new, lasted_ns))
        self.state = new

    def note_fins(self, old: int, new: int, received: int) -> None:
        """Learn from a state change whether the FINs are in the kernel's counters."""
        self.own_fin_acked |= (old == FIN_WAIT1 and new == FIN_WAIT2) or (old == CLOSING and new == CLOSE)
        self.own_fin_acked |= old == LAST_ACK and new == CLOSE and not self.resets_received
        self.peer_fin_received |= new in (CLOSE_WAIT, CLOSING)
        if new == FIN_WAIT2:
            self.received_at_fin_wait2 = received
        elif old == FIN_WAIT2:  # nothing but the FIN ends this state, unless it ends without another byte
            self.peer_fin_received |= received > self.received_at_fin_wait2


class Sessions:
    """Follows sockets through a recording; `all` has every session in the order in which they were first heard of."""

    def __init__(self) -> None:
        self.all: list[Session] = []
        self._open: dict[int, Session] = {}

    def feed(self, batch: Batch) -> None:
        """Take a batch's TCP events, in the order of time."""
        events = []
        for order, kind in enumerate(KINDS):
            if kind in batch.events:
                rows = batch.events[kind]
                events += [(time, order, row) for time, row in zip(rows.time_ns.tolist(), rows.payload, strict=True)]
        for time_ns, order, row in sorted(events, key=lambda event: event[:2]):
            self._take(KINDS[order], time_ns, row)

    def of(self, socket: NDArray[np.uint64], time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place in `all` of the session that each of N sockets was at a time; −1 where nothing is known of it."""
        known, opened_ns = set[int](), np.empty(len(self.all), np.int64)
        for place, session in enumerate(self.all):  # the first of a socket, if nobody saw it begin, was there all the time
            unseen = session.start_ns is None and session.socket not in known
            opened_ns[place] = 0 if unseen else session.opened_ns
            known.add(session.socket)
        sockets = np.array([session.socket for session in self.all], np.uint64)
        return latest(socket, time_ns, (sockets, opened_ns))

    def _take(self, kind: str, time_ns: int, row: Any) -> None:
        socket = int(row["socket"])
        if kind == "tcp_destroy":
            self._open.pop(socket, None)
        elif kind == "tcp_retransmit":
            has_addresses = "segments" in row.dtype.names  # older recordings say nothing more of it
            if session := self._known(socket, time_ns, row) if has_addresses else self._open.get(socket):
                session.retransmits += int(row["segments"]) if has_addresses else 1
        elif kind in ("tcp_send_reset", "tcp_receive_reset"):
            if session := self._open.get(socket):
                session.resets_sent += kind == "tcp_send_reset"
                session.resets_received += kind == "tcp_receive_reset"
        elif kind == "tcp_state":
            self._change(socket, time_ns, row)
        else:
            session = self._known(socket, time_ns, row)
            session.note_owner(int(row["tid"]), time_ns)

    def _known(self, socket: int, time_ns: int, row: Any) -> Session:
        """Return the session of a socket, which must have been established if nothing was heard of it before."""
        session = self._open.get(socket) or self._begin(Session(socket, time_ns, None, row, state=ESTABLISHED))
        if not int(session.seen["local_port"]):  # it is chosen after SYN_SENT
            session.seen = row
        return session

    def _begin(self, session: Session) -> Session:
        self.all.append(session)
        self._open[session.socket] = session
        return session

    def _change(self, socket: int, time_ns: int, row: Any) -> None:
        old, new = int(row["old_state"]), int(row["new_state"])
        session = self._open.get(socket)
        comes_in = (old, new) == (LISTEN, SYN_RECV)  # a new socket, which has been a copy of the one that listens
        if LISTEN in (old, new) and not comes_in:
            if new == LISTEN or session is None:
                session = self._begin(Session(socket, time_ns, time_ns if new == LISTEN else None, row, listens=True))
            session.note_owner(int(row["tid"]), time_ns)
            session.note_change(time_ns, old, new)
            return
        if session is None or session.state == CLOSE or comes_in:
            begins = new in (SYN_SENT, SYN_RECV) or old == SYN_RECV  # it is in SYN_RECV for a moment only
            session = self._begin(Session(socket, time_ns, time_ns if begins else None, row))
        session.note_change(time_ns, old, new)
        if int(row["local_port"]):  # the port is given back before CLOSE
            session.seen = row
        if new in (SYN_SENT, LAST_ACK, FIN_WAIT1):
            session.note_owner(int(row["tid"]), time_ns)
        acked, received = int(row["bytes_acked"]), int(row["bytes_received"])
        session.note_fins(old, new, received)
        if new == SYN_SENT:
            session.asked_ns = time_ns
        elif new == ESTABLISHED:
            session.acked_before, session.connected_ns = acked, time_ns
        elif new == CLOSE:
            session.end_ns = time_ns
            session.rx_bytes = received - session.peer_fin_received
            if session.acked_before is not None:
                session.tx_bytes = acked - session.acked_before - session.own_fin_acked
