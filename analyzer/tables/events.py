"""`events`: every event of the traced tracepoints, with its arguments; `events:FIELD+…`: how many are of each value."""

from typing import Any

import numpy as np

from offwake.analyzer.groups import Weights
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table
from offwake.analyzer.traced import TID, codes_of, fields_of, must_be_fields, traced_events

__all__ = ["counts", "table"]

COLUMNS = (
    Column("time_ns", "ns"),
    Column("event", "text"),
    Column("comm", "text"),
    Column("pid", "id"),
    Column("tid", "id"),
    Column("cpu", "id"),
)


def table(scope: Scope) -> Table:
    """Return a row an event, in the order of time; a column for each field that any of them has, None where it has not."""
    replay, rows, columns = scope.replay, [], dict.fromkeys(COLUMNS)
    own = {column.name for column in COLUMNS}
    for name, found in traced_events(scope).items():
        fields = {field: f"{field}_" if field in own else field for field in fields_of(found)}
        columns |= {Column(shown, "id"): None for shown in fields.values()}
        about = (found.rows.time_ns.tolist(), found.comms(replay), found.tgids(replay), found.rows.cpu.tolist())
        for time_ns, comm, pid, cpu, what in zip(*about, found.rows.payload, strict=True):
            row = {"time_ns": time_ns - scope.recording.began_ns, "event": name, "comm": comm, "pid": pid}
            row |= {"tid": int(what[TID]), "cpu": cpu}
            rows.append(row | {shown: _plain(what[field]) for field, shown in fields.items()})
    rows.sort(key=lambda row: row["time_ns"])
    return Table("events", tuple(columns), rows)


def counts(scope: Scope, by: tuple[str, ...]) -> Table:
    """Return how many events there are of each value of some fields, most first. Raises UsageError for unknown fields."""
    replay, events = scope.replay, traced_events(scope)
    must_be_fields(by, [*events.values()])
    weights = Weights(len(by))
    for name, found in events.items():
        if len(found):
            weights.add([codes_of(field, name, found, replay) for field in by], np.ones(len(found), np.int64))
    texts = replay.names.texts
    rows: list[dict[str, Any]] = [
        dict(zip(by, (texts[code] for code in key), strict=True)) | {"count": count}
        for key, count in zip(weights.groups.keys.tolist(), weights.count.tolist(), strict=True)
    ]
    rows.sort(key=lambda row: (-row["count"], *(row[field] for field in by)))
    return Table(f"events:{'+'.join(by)}", (*(Column(field, "text") for field in by), Column("count", "count")), rows)


def _plain(value: Any) -> Any:
    if isinstance(value, np.void):
        return value.tobytes().hex()
    return value.decode(errors="replace") if isinstance(value, bytes) else int(value)
