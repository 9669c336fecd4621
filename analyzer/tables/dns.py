"""`dns`: every name look-up through the C library, with how long the call took."""

from offwake.analyzer.gathered import Events, gathered
from offwake.analyzer.scope import Scope
from offwake.analyzer.shapes import LATEST_NS
from offwake.analyzer.tables import Column, Table

__all__ = ["lookups", "table"]

COLUMNS = (
    Column("start_ns", "ns"),
    Column("comm", "text"),
    Column("pid", "id"),
    Column("host", "text"),
    Column("latency_ns", "ns"),
    Column("failed", "text"),
)


def lookups(scope: Scope) -> Events:
    """Return the look-ups that selected threads made, that ended in the selected time and took as long as is selected."""
    found = gathered(scope, "dns_lookup")
    if len(found):
        latency_ns = found.rows.payload["latency_ns"]
        found = found.where((latency_ns < LATEST_NS) & scope.selection.lasting(latency_ns.astype("i8")))
    return found


def table(scope: Scope) -> Table:
    """Return a row a look-up, in the order of their start. `host` is None in a recording that was redacted."""
    replay, found = scope.replay, lookups(scope)
    redacted, rows = scope.recording.redacted, []
    columns = (found.rows.time_ns.tolist(), found.comms(replay), found.tgids(replay), found.rows.payload)
    for time_ns, comm, pid, what in zip(*columns, strict=True):
        host, latency_ns = what["host"].decode(errors="replace"), int(what["latency_ns"])
        row = {"start_ns": time_ns - latency_ns - scope.recording.began_ns, "comm": comm, "pid": pid}
        rows.append(row | {"host": None if redacted else host, "latency_ns": latency_ns, "failed": bool(what["failed"])})
    rows.sort(key=lambda row: row["start_ns"])
    return Table("dns", COLUMNS, rows)
