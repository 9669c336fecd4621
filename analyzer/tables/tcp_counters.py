"""`tcp-counters`: what the kernel counted of IP, TCP and UDP, second by second."""

from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table

__all__ = ["table"]

COLUMNS = (Column("start_ns", "ns"), Column("counter", "text"), Column("count", "count"))
SOURCE = "tcp-stats"


def table(scope: Scope) -> Table:
    """Return a row for each counter of the kernel's that grew in a second, in the order of time and name.

    They are those of the recorder's network namespace, named as nstat names them. `start_ns` is when the second ended.
    """
    for _ in scope.replay:
        pass
    rows = [
        {"start_ns": time_ns - scope.recording.began_ns, "counter": counter, "count": count}
        for time_ns, grown in scope.replay.grown
        if scope.begin_ns <= time_ns and (time_ns <= scope.end_ns or scope.selection.end_ns is None)
        for counter, count in sorted(grown.get(SOURCE, {}).items())
    ]
    return Table("tcp-counters", COLUMNS, rows)
