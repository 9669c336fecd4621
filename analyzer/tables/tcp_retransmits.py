"""`tcp-retransmits`: every segment that was sent again, and what state its connection was in."""

from typing import Any

from offwake.analyzer.connections import COLUMNS as ENDS
from offwake.analyzer.connections import connection_events, gather
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table
from offwake.analyzer.tcp import state_name

__all__ = ["table"]

COLUMNS = (Column("start_ns", "ns"), *ENDS, Column("state", "text"), Column("segments", "count"))
KINDS = ("tcp_retransmit", "tcp_retransmit_synack")


def table(scope: Scope) -> Table:
    """Return a row a retransmission, in the order of time. A large one is several `segments`, as the kernel counts them.

    A SYN-ACK that is sent again is one of a connection that comes in: NEW_SYN_RECV, of the process that listens.
    """
    sessions, kinds = gather(scope, *KINDS)
    found = []
    for kind, rows in kinds.items():
        for time_ns, ends, row in connection_events(scope, sessions, rows):
            found.append({"start_ns": time_ns - scope.recording.began_ns, **ends.cells(), **_what(kind, row)})
    return Table("tcp-retransmits", COLUMNS, sorted(found, key=lambda row: row["start_ns"]))


def _what(kind: str, row: Any) -> dict[str, Any]:
    if kind == "tcp_retransmit_synack":
        return {"state": "NEW_SYN_RECV", "segments": 1}
    if "segments" not in row.dtype.names:  # older recordings
        return {"state": None, "segments": None}
    return {"state": state_name(int(row["state"])), "segments": int(row["segments"])}
