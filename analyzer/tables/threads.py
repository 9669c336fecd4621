"""`threads`: how every thread spent its life within the recording. The five times add up to it, to the nanosecond."""

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.intervals import BLOCKED, NEVER, NEW, PREEMPTED, UNKNOWN
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table

__all__ = ["table"]

COLUMNS = (
    Column("tid", "id"),
    Column("pid", "id"),
    Column("comm", "text"),
    Column("on_cpu_ns", "ns"),
    Column("blocked_ns", "ns"),
    Column("run_queue_ns", "ns"),
    Column("preempted_ns", "ns"),
    Column("unknown_ns", "ns"),
    Column("switches", "count"),
    Column("wakeups", "count"),
    Column("ns_pid", "id"),
)
WANTED = ("on_cpu_ns", "run_queue_ns", "preempted_ns")  # a CPU, whether the thread got one or not
ON_CPU, BLOCKED_PART, RUN_QUEUE, PREEMPTED_PART, UNKNOWN_PART, SWITCHES = range(6)


class _Sums:
    """Nanoseconds by thread and part, and switches; growing with the threads."""

    def __init__(self) -> None:
        self.ns = np.zeros((256, 6), np.int64)

    def add(self, rows: NDArray[np.void], part: int, value_ns: NDArray[np.int64] | int) -> None:
        top = int(rows["thread"].max(initial=-1)) + 1
        while top > len(self.ns):
            self.ns = np.concatenate((self.ns, np.zeros_like(self.ns)))
        np.add.at(self.ns[:, part], rows["thread"], value_ns)

    def lived(self, threads: int) -> NDArray[np.bool_]:
        """Tell which of the first `threads` threads spent any time."""
        found = np.zeros(threads, np.bool_)
        found[: len(self.ns)] = self.ns[:threads, :SWITCHES].any(axis=1)
        return found


def table(scope: Scope) -> Table:
    """Return a row for every thread that has selected time; those that wanted a CPU longest, and got one or not, first.

    Its name is its last one. Of a selected time, switches are those that ended running inside it, and wakeups are None:
    not every waking ends a wait. Of selected states or durations both are None. `ns_pid` is the process's id in a PID
    namespace of its own, a container's, None where it is in the host's.
    """
    replay, selection, sums = scope.replay, scope.selection, _Sums()
    narrowed = selection.begin_ns is not None or selection.end_ns is not None
    of_waits = selection.states is not None or selection.min_ns is not None or selection.max_ns is not None
    for batch in replay:
        rows = scope.clip(batch.activity.intervals)
        waits = rows[(rows["kind"] == BLOCKED) | (rows["kind"] == NEW)]
        sums.add(waits, BLOCKED_PART, waits["wake_ns"] - waits["begin_ns"])
        sums.add(waits, RUN_QUEUE, waits["end_ns"] - waits["wake_ns"])
        for kind, part in ((PREEMPTED, PREEMPTED_PART), (UNKNOWN, UNKNOWN_PART)):
            other = rows[rows["kind"] == kind]
            sums.add(other, part, other["end_ns"] - other["begin_ns"])
        slices = scope.clip(batch.activity.slices)
        sums.add(slices, ON_CPU, slices["end_ns"] - slices["begin_ns"])
        if narrowed:
            sums.add(slices[slices["end_ns"] < scope.end_ns], SWITCHES, 1)
    threads = replay.timeline.threads[: replay.timeline.thread_count]
    found = []
    for place in np.flatnonzero(sums.lived(len(threads))).tolist():
        thread = threads[place]
        values = (
            int(thread["tid"]),
            int(thread["tgid"]),
            replay.names.texts[thread["name"]] if thread["name"] != NEVER else "",
            *sums.ns[place, :SWITCHES].tolist(),
            None if of_waits else int(sums.ns[place, SWITCHES] if narrowed else thread["switches"]),
            None if of_waits or narrowed else int(thread["wakeups"]),
            replay.ns_pids.get(int(thread["tgid"])),
        )
        found.append(dict(zip((column.name for column in COLUMNS), values, strict=True)))
    found.sort(key=lambda row: (-sum(row[part] for part in WANTED), -row["blocked_ns"], row["tid"]))
    return Table("threads", COLUMNS, found)
