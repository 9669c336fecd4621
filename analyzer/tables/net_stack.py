"""`net-stack`: how long the packets of each connection took from one layer of the kernel to the next."""

import numpy as np

from offwake.analyzer.connections import COLUMNS as ENDS
from offwake.analyzer.histogram import percentile
from offwake.analyzer.net_stack import packets
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table

__all__ = ["table"]

COLUMNS = (
    *ENDS,
    Column("way", "text"),
    Column("packets", "count"),
    Column("p50_ns", "ns"),
    Column("p99_ns", "ns"),
    Column("max_ns", "ns"),
    Column("total_ns", "ns"),
)


def table(scope: Scope) -> Table:
    """Return a row for each connection and way, the longest in all first."""
    rows = []
    for way, events in packets(scope).items():
        all_ns = events.rows.payload["latency_ns"].astype(np.int64)
        order = np.lexsort((all_ns, events.which))
        borders = np.searchsorted(events.which[order], np.arange(len(events.connections) + 1))
        for ends, begin, end in zip(events.connections, borders, borders[1:], strict=False):
            latency_ns = all_ns[order[begin:end]]
            latency_ns = latency_ns[scope.selection.lasting(latency_ns)]
            if len(latency_ns):
                figures = {"p50_ns": percentile(latency_ns, 50), "p99_ns": percentile(latency_ns, 99)}
                figures |= {"max_ns": int(latency_ns[-1]), "total_ns": int(latency_ns.sum())}
                rows.append({**ends.cells(), "way": way, "packets": len(latency_ns), **figures})
    return Table("net-stack", COLUMNS, sorted(rows, key=lambda row: -row["total_ns"]))
