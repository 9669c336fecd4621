"""`tcp-counters`: what the kernel counted of IP, TCP and UDP, second by second."""

from itertools import compress

import numpy as np

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
    times_ns = np.array([time_ns for time_ns, _ in scope.replay.grown], np.int64)
    within = scope.within(np.minimum(times_ns, scope.recording.ended_ns))
    rows = [
        {"start_ns": time_ns - scope.recording.began_ns, "counter": counter, "count": count}
        for time_ns, grown in compress(scope.replay.grown, within.tolist())
        for counter, count in sorted(grown.get(SOURCE, {}).items())
    ]
    return Table("tcp-counters", COLUMNS, rows)
