"""What is measured of TCP connections: how long they last, connect and take to the other end and back; packets inside."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.connections import Connection, Events, Owners, connection_events, gather
from offwake.analyzer.net_stack import packets
from offwake.analyzer.scope import Scope
from offwake.analyzer.tcp import Session

__all__ = ["NS_PER_SRTT", "Measured", "connects", "lifetimes", "round_trips", "way"]

NS_PER_SRTT = 125  # the kernel keeps eighths of a microsecond


@dataclass(frozen=True)
class Measured:
    """N latencies (ns) of selected threads' connections, when each ended (CLOCK_MONOTONIC), and which of them each is of."""

    ended_ns: NDArray[np.int64]
    latency_ns: NDArray[np.int64]
    which: NDArray[np.int64]
    connections: list[Connection]


def lifetimes(scope: Scope) -> Measured:
    """Measure sessions that were opened and closed in the recording; how long others lasted is not known."""
    sessions, _ = gather(scope)
    closed = [session for session in sessions.all if not session.listens]
    return _of_sessions(scope, [(s, s.end_ns, s.end_ns - s.start_ns) for s in closed if s.start_ns and s.end_ns])


def connects(scope: Scope) -> Measured:
    """Measure how long the other end took to answer a SYN, where it did."""
    sessions, _ = gather(scope)
    return _of_sessions(scope, [(s, s.connected_ns, s.connect_ns) for s in sessions.all if s.connected_ns and s.connect_ns])


def round_trips(scope: Scope) -> Measured:
    """Measure the kernel's smoothed round-trip times, as they were sampled."""
    sessions, kinds = gather(scope, "tcp_rtt")
    if "tcp_rtt" not in kinds:
        return _of_sessions(scope, [])
    events = connection_events(scope, sessions, kinds["tcp_rtt"])
    return _of_events(events, events.rows.payload["srtt_8us"].astype(np.int64) * NS_PER_SRTT)


def way(name: str, scope: Scope) -> Measured:
    """Measure how long packets took on one of the ways between the kernel's layers."""
    events = packets(scope).get(name)
    if events is None:
        return _of_sessions(scope, [])
    return _of_events(events, events.rows.payload["latency_ns"].astype(np.int64))


def _of_events(events: Events, latency_ns: NDArray[np.int64]) -> Measured:
    return Measured(events.rows.time_ns, latency_ns, events.which, events.connections)


def _of_sessions(scope: Scope, found: list[tuple[Session, int, int]]) -> Measured:
    owners = Owners(scope, (session.owner for session, *_ in found))
    joined = [(owners.connection(session.owner, session.seen), ended, took) for session, ended, took in found]
    chosen = [row for row, (session, *_) in zip(joined, found, strict=True) if owners.is_selected(session.owner, row[0])]
    ended_ns, latency_ns = (np.array([row[at] for row in chosen], np.int64) for at in (1, 2))
    return Measured(ended_ns, latency_ns, np.arange(len(chosen)), [ends for ends, *_ in chosen])
