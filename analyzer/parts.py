"""The views that tell apart what a thread off the CPU waited for: `off-cpu` split, `run-queue`, and all time, `wall`.

Time in the run queue is `[run queue]` while the CPU that the thread then came on ran another thread, and `[wake-up]` while
that CPU was idle: the interrupt that fetches it, its way out of a sleep state.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.cpus import FORGOTTEN, NOBODY, OPEN, STRANGER, Cpus, runnable_ns
from offwake.analyzer.intervals import BLOCKED, NEW, PREEMPTED, UNKNOWN
from offwake.analyzer.naming import Frames, Naming
from offwake.analyzer.on_cpu import OnCpu
from offwake.analyzer.profile import Profile
from offwake.analyzer.replay import Batch
from offwake.analyzer.scope import Scope
from offwake.analyzer.views import OFF_CPU, IntervalStacks, IntervalView, Key, Parts, ViewOptions

__all__ = ["ON_CPU_MARK", "RUN_QUEUE", "OffCpu", "Wall"]

ON_CPU_MARK = "[on CPU]"
_RUN_QUEUE, _WAKE_UP, _BLOCKED, _PREEMPTED, _UNKNOWN = range(5)
_MARKS = ("[run queue]", "[wake-up]", "[blocked]", "[preempted]", "[unknown]")
_NOT_A_NAME = {NOBODY: "[idle]", OPEN: "[open]", FORGOTTEN: "[forgotten]", STRANGER: "[not recorded]"}


class OffCpu(IntervalStacks):
    """Collects `off-cpu`, split if the options say so."""

    def __init__(self, scope: Scope, options: ViewOptions) -> None:
        super().__init__(_SPLIT if options.split else OFF_CPU, scope, options)


class Wall:
    """Collects all time: on the CPU by sampled stack, off it split, and what is unknown."""

    def __init__(self, scope: Scope, options: ViewOptions) -> None:
        self._on = OnCpu(scope, options, (ON_CPU_MARK,))
        self._off = IntervalStacks(_ALL_OFF_CPU, scope, options)

    def feed(self, batch: Batch) -> None:
        """Take a batch's activity."""
        self._on.feed(batch)
        self._off.feed(batch)

    def profile(self, naming: Naming) -> Profile:
        """Return the stacks."""
        return self._on.profile(naming) + self._off.profile(naming)


def _split(rows: NDArray[np.void], cpus: Cpus) -> Parts:
    kind = rows["kind"]
    queued_ns, waited_ns = cpus.queued_ns(rows), runnable_ns(rows)
    woken = (kind == BLOCKED) | (kind == NEW)
    for what, which, value_ns in (
        (_RUN_QUEUE, woken, queued_ns),
        (_WAKE_UP, woken, waited_ns - queued_ns),
        (_BLOCKED, kind == BLOCKED, rows["wake_ns"] - rows["begin_ns"]),
        (_PREEMPTED, kind == PREEMPTED, waited_ns),
        (_UNKNOWN, kind == UNKNOWN, rows["end_ns"] - rows["begin_ns"]),
    ):
        places = np.flatnonzero(which & (value_ns > 0))
        yield places, np.full(len(places), what, np.int32), value_ns[places]


def _split_frames(key: Key, naming: Naming) -> Frames:
    name, kind, stack, space, what = key
    return *(naming.blocked(name, stack, space) if kind == BLOCKED else (naming.name(name),)), _MARKS[what]


def _run_queue_frames(key: Key, naming: Naming) -> Frames:
    name, preempted, who = key
    if who == NOBODY and not preempted:
        return naming.name(name), _MARKS[_WAKE_UP]
    mark = _MARKS[_PREEMPTED if preempted else _RUN_QUEUE]
    return naming.name(name), mark, _NOT_A_NAME.get(who) or naming.name(who)


_SPLIT = replace(OFF_CPU, frames=_split_frames, parts=_split)
_ALL_OFF_CPU = replace(_SPLIT, counts=lambda rows: np.ones(len(rows), np.bool_))
RUN_QUEUE = IntervalView(
    lambda rows: runnable_ns(rows) > 0,
    lambda rows: [rows["name"], rows["kind"] == PREEMPTED],
    runnable_ns,
    _run_queue_frames,
    parts=lambda rows, cpus: cpus.meanwhile(rows),
    of_waits=False,  # however idle the wait was, what came after it was work that had to wait
)
