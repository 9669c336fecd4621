"""`tcp-sessions`: every TCP session from its first state to its end, with the process that owns it."""

from typing import Any

from offwake.analyzer.connections import COLUMNS as ENDS
from offwake.analyzer.connections import Owners, gather
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table
from offwake.analyzer.tcp import Session, state_name

__all__ = ["table"]

COLUMNS = (
    Column("start_ns", "ns"),
    *ENDS,
    Column("state", "text"),
    Column("duration_ns", "ns"),
    Column("connect_ns", "ns"),
    Column("tx_bytes", "bytes"),
    Column("rx_bytes", "bytes"),
    Column("retransmits", "count"),
)


def table(scope: Scope) -> Table:
    """Return a row a session, in the order of their start. What is not known is None.

    A session whose beginning was not seen has neither start nor duration, and comes first, as if it had been there when
    the recording began. `duration_ns` runs to the recording's end for a session that is still open, `connect_ns` from the
    SYN to its answer, for a session that this end asked for. Bytes are the kernel's `bytes_acked` and `bytes_received` at
    CLOSE, less the SYN and the FINs that they count; None for a session that has not closed, and for what was sent in one
    that was established before the recording: whose SYN it was, is not known. Retransmits are segments. Selected are
    sessions that overlap the selected time; `min_ns` and `max_ns` bound their duration, where it is known.
    """
    recording = scope.recording
    sessions, _ = gather(scope)
    owners, found = Owners(scope, (session.owner for session in sessions.all)), []
    for session in (session for session in sessions.all if not session.listens):
        ended_ns = recording.ended_ns if session.end_ns is None else session.end_ns
        row = _row(session, recording.began_ns, ended_ns)
        ends = owners.connection(session.owner, session.seen)
        if (
            recording.began_ns + (row["start_ns"] or 0) < scope.end_ns
            and ended_ns >= scope.begin_ns
            and scope.selection.lasts(row["duration_ns"])
            and owners.is_selected(session.owner, ends)
        ):
            found.append(row | ends.cells())
    found.sort(key=lambda row: (row["start_ns"] or 0, row["local_port"] or 0))
    return Table("tcp-sessions", COLUMNS, found)


def _row(session: Session, began_ns: int, ended_ns: int) -> dict[str, Any]:
    start_ns = session.start_ns
    return {
        "start_ns": None if start_ns is None else start_ns - began_ns,
        "state": state_name(session.state),
        "duration_ns": None if start_ns is None else ended_ns - start_ns,
        "connect_ns": session.connect_ns,
        "tx_bytes": session.tx_bytes,
        "rx_bytes": session.rx_bytes,
        "retransmits": session.retransmits,
    }
