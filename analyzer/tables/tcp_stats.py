"""`tcp-stats`: what went wrong with each TCP session."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.connections import COLUMNS as ENDS
from offwake.analyzer.connections import Gathering, Owners
from offwake.analyzer.drops import KIND, drops, reason_name
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table
from offwake.analyzer.tcp import Session, state_name

__all__ = ["table"]

COLUMNS = (
    Column("start_ns", "ns"),
    *ENDS,
    Column("state", "text"),
    Column("retransmits", "count"),
    Column("resets_sent", "count"),
    Column("resets_received", "count"),
    Column("drops", "count"),
    Column("drop_reasons", "text"),
    Column("errors", "text"),
)
SOURCE = "tcp-stats"
# include/uapi/asm-generic/errno.h
ERRORS = {
    32: "EPIPE", 101: "ENETUNREACH", 103: "ECONNABORTED", 104: "ECONNRESET", 110: "ETIMEDOUT", 111: "ECONNREFUSED",
    113: "EHOSTUNREACH",
}  # fmt: skip


def table(scope: Scope) -> Table:
    """Return a row a session, those with the most trouble first. Selected are sessions that overlap the selected time.

    Retransmits are segments. Drops and errors are None where their source was not recorded.
    """
    recording, gathering = scope.recording, Gathering((KIND, "tcp_error"))
    gathering.take(scope)
    sessions, lost = gathering.sessions, drops(scope.but(begin_ns=None, end_ns=None), gathering)
    reasons = [reason_name(recording, reason) for reason in lost.rows.payload["reason"].tolist()]
    drop_counts = _by_session(lost.session, reasons)
    errors = _errors(gathering)
    owners = Owners(scope, (session.owner for session in sessions.all))
    recorded, found = recording.keyframe["sources"], []
    for place, session in enumerate(sessions.all):
        ends = owners.connection(session.owner, session.seen)
        ended_ns = recording.ended_ns if session.end_ns is None else session.end_ns
        overlaps = (session.start_ns or recording.began_ns) < scope.end_ns and ended_ns >= scope.begin_ns
        if overlaps and not session.listens and owners.is_selected(session.owner, ends):
            row = _row(session, recording.began_ns) | ends.cells()
            dropped = drop_counts.get(place, Counter()) if "tcp-drop" in recorded else None
            row |= {
                "drops": None if dropped is None else dropped.total(),
                "drop_reasons": None if dropped is None else _words(dropped),
                "errors": _words(errors.get(place, Counter())) if SOURCE in recorded else None,
            }
            found.append(row)
    found.sort(key=lambda row: (-_trouble(row), row["start_ns"] or 0))
    return Table("tcp-stats", COLUMNS, found)


def _errors(gathering: Gathering) -> dict[int, Counter[str]]:
    rows = gathering.rows().get("tcp_error")
    if rows is None:
        return {}
    names = [ERRORS.get(error, str(error)) for error in rows.payload["error"].tolist()]
    return _by_session(gathering.sessions.of(rows.payload["socket"], rows.time_ns), names)


def _by_session(places: NDArray[np.int64], names: list[str]) -> dict[int, Counter[str]]:
    """Count what events are called, by their sessions' places."""
    found = defaultdict[int, Counter[str]](Counter)
    for place, name in zip(places.tolist(), names, strict=True):
        found[place][name] += 1
    return found


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def _row(session: Session, began_ns: int) -> dict[str, Any]:
    return {
        "start_ns": None if session.start_ns is None else session.start_ns - began_ns,
        "state": state_name(session.state),
        "retransmits": session.retransmits,
        "resets_sent": session.resets_sent,
        "resets_received": session.resets_received,
    }


def _trouble(row: dict[str, Any]) -> int:
    return sum(row[name] or 0 for name in ("retransmits", "resets_sent", "resets_received", "drops"))
