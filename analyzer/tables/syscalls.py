"""`syscalls`: how often each process made each system call, how long they took and how many failed."""

from typing import Any

import numpy as np

from offwake.analyzer.counted import counted
from offwake.analyzer.scope import Scope
from offwake.analyzer.syscalls import syscall_name
from offwake.analyzer.tables import Column, Table

__all__ = ["table"]

COLUMNS = (
    Column("comm", "text"),
    Column("pid", "id"),
    Column("call", "text"),
    Column("count", "count"),
    Column("total_ns", "ns"),
    Column("average_ns", "ns"),
    Column("max_ns", "ns"),
    Column("errors", "count"),
)


def table(scope: Scope) -> Table:
    """Return a row for each process and call, those that took longest in all first. Calls count when they return.

    Of a selected time `max_ns` is the longest call until its end. Durations of waits select nothing here.
    """
    replay, found = scope.replay, counted(scope, "syscalls")
    rows: list[dict[str, Any]] = []
    if not len(found):
        return Table("syscalls", COLUMNS, rows)
    keys, which = np.unique(np.stack([found.thread, found.rows["tgid"], found.rows["call"]]), axis=1, return_inverse=True)
    sums = np.zeros((4, keys.shape[1]), np.int64)
    for at, column in enumerate(("count", "total_ns", "errors")):
        np.add.at(sums[at], which.reshape(-1), found.rows[column].astype(np.int64))
    np.maximum.at(sums[3], which.reshape(-1), found.rows["max_ns"].astype(np.int64))
    for (place, tgid, call), (count, total_ns, errors, max_ns) in zip(keys.T.tolist(), sums.T.tolist(), strict=True):
        name = int(replay.timeline.threads["name"][place]) if place >= 0 else -1
        row = {"comm": replay.names.texts[name] if name >= 0 else None, "pid": tgid, "call": syscall_name(call)}
        row |= {"count": count, "total_ns": total_ns, "average_ns": total_ns // max(count, 1)}
        rows.append(row | {"max_ns": max_ns, "errors": errors})
    rows.sort(key=lambda row: (-row["total_ns"], row["pid"], row["call"]))
    return Table("syscalls", COLUMNS, rows)
