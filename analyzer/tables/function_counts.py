"""`function-counts`: how often functions were called and tracepoints passed, and how long calls took that were timed."""

from typing import Any

import numpy as np

from offwake.analyzer.counted import counted
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table

__all__ = ["table"]

COLUMNS = (
    Column("function", "text"),
    Column("where", "text"),
    Column("count", "count"),
    Column("total_ns", "ns"),
    Column("average_ns", "ns"),
    Column("variance_ns2", "count"),
)
TIMED = ("count", "total_ns", "squares_low", "squares_high")


def table(scope: Scope) -> Table:
    """Return a row for each function or tracepoint that was called or passed, the most first.

    Of what was timed calls count when they return; `variance_ns2` is the sample variance, ftrace's s², None for one call.
    """
    rows: list[dict[str, Any]] = []
    for one in scope.recording.keyframe["counted"]:
        if names := one.get("names"):
            found = counted(scope, one["name"]).rows
            functions, which = np.unique(found["function"], return_inverse=True)
            timed = "total_ns" in (found.dtype.names or ())
            sums = np.zeros((len(functions), len(TIMED)), object)  # squares need more than 64 bits
            for at, column in enumerate(TIMED if timed else TIMED[:1]):
                np.add.at(sums[:, at], which, found[column].astype(object))
            for function, figures in zip(functions.tolist(), sums.tolist(), strict=True):
                name, where = names[function][:2] if function < len(names) else (str(function), "")
                rows.append({"function": name, "where": where} | _figures(figures, timed))
    rows.sort(key=lambda row: (-row["count"], row["where"], row["function"]))
    return Table("function-counts", COLUMNS, rows)


def _figures(sums: list[int], timed: bool) -> dict[str, int | None]:
    count, total_ns, low, high = sums
    if not timed or not count:
        return {"count": count, "total_ns": None, "average_ns": None, "variance_ns2": None}
    squares = low + (high << 32)
    variance = max(count * squares - total_ns**2, 0) // (count * (count - 1)) if count > 1 else None
    return {"count": count, "total_ns": total_ns, "average_ns": total_ns // count, "variance_ns2": variance}
