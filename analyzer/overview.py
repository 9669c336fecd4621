"""The overview: what the machine did at each moment of a recording. The viewer draws it above every page, to choose a time.

One pass. Threads' times are those of the selection, and add up to what the table of threads says, to the nanosecond; events,
block I/O and TCP are the machine's.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.columns import Columns
from offwake.analyzer.intervals import PREEMPTED, UNKNOWN
from offwake.analyzer.replay import Batch
from offwake.analyzer.scope import Scope

__all__ = ["SERIES", "Overview", "overview"]

SERIES = (
    "events",
    "on_cpu_ns",
    "blocked_ns",
    "idle_ns",
    "run_queue_ns",
    "preempted_ns",
    "unknown_ns",
    "io_requests",
    "io_bytes",
    "tcp_opened",
    "tcp_retransmits",
    "lost_ns",
)
"""What is told of each column. `events` are those within the recording; `info` counts what came just before and after it,
too, as the kernel does. `idle_ns` was blocked too, in waits that pictures leave out; `lost_ns` is the time, of all CPUs, in
which events may be missing; requests count when they complete."""
ESTABLISHED = 1  # include/net/tcp_states.h


@dataclass(frozen=True)
class Overview:
    """Sums of each of SERIES (int64, C) over the columns of the whole recording. `cpus` is how many CPUs it has."""

    columns: Columns
    end_ns: int
    cpus: int
    sums: dict[str, NDArray[np.int64]]

    @property
    def lengths_ns(self) -> NDArray[np.int64]:
        """How much of each column lies in the recording (int64, C)."""
        starts_ns = self.columns.starts_ns
        return np.maximum(np.minimum(starts_ns + self.columns.width_ns, self.end_ns) - starts_ns, 1)


def overview(scope: Scope) -> Overview:
    """Return the overview of the whole recording, of the selected threads and waits."""
    whole, recording = scope.but(begin_ns=None, end_ns=None, ended=False), scope.recording
    columns = Columns.over(recording.began_ns, recording.ended_ns)
    sums = {name: np.zeros(columns.count, np.int64) for name in SERIES}
    for batch in whole.replay:
        _add_threads(sums, columns, whole, batch)
        _add_events(sums, columns, batch)
    sums["events"] += whole.replay.events_by_column
    sums["lost_ns"] += whole.replay.lost_ns_by_column
    since_start = Columns(0, columns.width_ns, columns.count)
    return Overview(since_start, recording.duration_ns, len(recording.keyframe["cpus"]), sums)


def _add_threads(sums: dict[str, NDArray[np.int64]], columns: Columns, scope: Scope, batch: Batch) -> None:
    intervals, slices = batch.activity.intervals, scope.clip(batch.activity.slices)
    sums["on_cpu_ns"] += columns.spread(slices["begin_ns"], slices["end_ns"])
    unknown = scope.clip(intervals.compress(intervals["kind"] == UNKNOWN))
    sums["unknown_ns"] += columns.spread(unknown["begin_ns"], unknown["end_ns"])
    shown, hidden = scope.waits(intervals, _is_known, _length_ns)
    for rows, blocked in ((shown, "blocked_ns"), (hidden, "idle_ns")):
        preempted = rows["kind"] == PREEMPTED
        for_cpu, waits = rows.compress(preempted), rows.compress(~preempted)
        sums[blocked] += columns.spread(waits["begin_ns"], waits["wake_ns"])
        sums["run_queue_ns"] += columns.spread(waits["wake_ns"], waits["end_ns"])
        sums["preempted_ns"] += columns.spread(for_cpu["begin_ns"], for_cpu["end_ns"])


def _add_events(sums: dict[str, NDArray[np.int64]], columns: Columns, batch: Batch) -> None:
    if completed := batch.events.get("block_rq_complete"):
        column = columns.of(completed.time_ns)
        np.add.at(sums["io_requests"], column, 1)
        np.add.at(sums["io_bytes"], column, completed.payload["bytes"].astype(np.int64))
    if states := batch.events.get("tcp_state"):
        opened = states.time_ns[states.payload["new_state"] == ESTABLISHED]
        np.add.at(sums["tcp_opened"], columns.of(opened), 1)
    if again := batch.events.get("tcp_retransmit"):
        np.add.at(sums["tcp_retransmits"], columns.of(again.time_ns), 1)


def _is_known(intervals: NDArray[np.void]) -> NDArray[np.bool_]:
    return np.asarray(intervals["kind"] != UNKNOWN)


def _length_ns(intervals: NDArray[np.void]) -> NDArray[np.int64]:
    return np.asarray(intervals["end_ns"] - intervals["begin_ns"])
