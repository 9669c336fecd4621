"""The stack views of intervals: each a function from intervals to weighted keys, and from a key to frames."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.cpus import Cpus
from offwake.analyzer.groups import Weights
from offwake.analyzer.intervals import NEW, PREEMPTED, UNKNOWN, blocked_ns, is_blocked
from offwake.analyzer.naming import Frames, Naming
from offwake.analyzer.profile import Profile
from offwake.analyzer.replay import Batch
from offwake.analyzer.roots import named_by
from offwake.analyzer.scope import Scope
from offwake.analyzer.slices import Summed
from offwake.analyzer.wakers import waker_columns

__all__ = [
    "CHAIN_WEIGHTS",
    "DEFAULTS",
    "OFF_CPU",
    "OFF_WAKE",
    "WAKEUP",
    "Collector",
    "IntervalStacks",
    "IntervalView",
    "Parts",
    "ViewOptions",
    "named",
]

Columns = list[NDArray[np.int32]]
Key = tuple[int, ...]
Parts = Iterator[tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]]
"""Parts of intervals: whose (its place), what it is (the last part of its key), and nanoseconds."""

CHAIN_WEIGHTS = ("time", "path")


@dataclass(frozen=True)
class ViewOptions:
    """How a view tells what it found: what the root frame is called, whether off-CPU time is split, what a chain weighs.

    `by` is one of `roots.BY`, `chain` one of `CHAIN_WEIGHTS`. `hide` is a regular expression for frames to leave out,
    `sandwich` the name of a frame that stacks must have: shape.py heeds these two, of every view.
    """

    by: str = "comm"
    split: bool = False
    chain: str = "time"
    hide: str | None = None
    sandwich: str | None = None


DEFAULTS = ViewOptions()


class Collector(Protocol):
    """Takes the batches of one pass; then it is asked for what it found."""

    def feed(self, batch: Batch) -> None:
        """Take what a batch brought."""

    def profile(self, naming: Naming) -> Profile:
        """Return the stacks; the pass must be complete."""


@dataclass(frozen=True)
class IntervalView:
    """A view of intervals off the CPU: which of them count, their keys and weights, and what a key is called.

    `parts` cuts intervals into what is told apart: then a key ends in what the part is. They add up to `value_ns`.
    `of_waits` says that what is weighed is the wait itself, so that nothing of an idle one is shown by default.
    """

    counts: Callable[[NDArray[np.void]], NDArray[np.bool_]]
    keys: Callable[[NDArray[np.void]], Columns]
    value_ns: Callable[[NDArray[np.void]], NDArray[np.int64]]
    frames: Callable[[Key, Naming], Frames]
    root: tuple[str, str] = ("thread", "name")  # whose the root frame is, and what it was called
    parts: Callable[[NDArray[np.void], Cpus], Parts] | None = None
    of_waits: bool = True


class IntervalStacks:
    """Collects a view of intervals."""

    def __init__(self, view: IntervalView, scope: Scope, options: ViewOptions) -> None:
        self._view, self._options = view, options
        self._scope = scope if view.of_waits else scope.but(show_all=True)
        self._weights: Weights | None = None
        self._cpus = Cpus(scope.replay.timeline.cpus, scope.recording.narrowed.members_only) if view.parts else None
        self._hidden_ns = 0
        self._open_ns = np.zeros(0, np.int64)  # by group
        self._slices, self._over_time = scope.slices, Summed(scope.slices)

    def feed(self, batch: Batch) -> None:
        """Take a batch's intervals."""
        view = self._view
        if self._cpus:
            self._cpus.feed(batch.activity.slices)
        shown, hidden = self._scope.waits(batch.activity.intervals, view.counts, view.value_ns)
        self._hidden_ns += int(view.value_ns(hidden).sum())
        if not len(shown):
            return
        if self._options.by != "comm":
            thread, name = view.root
            shown = shown.copy()
            shown[name] = named_by(self._options.by, shown[thread], shown[name], self._scope.replay)
        shown, when = self._slices.cut(shown)
        keys, is_open = view.keys(shown), shown["open"] > 0
        if view.parts and self._cpus:
            for row, what, value_ns in view.parts(shown, self._cpus):
                self._add([*(column[row] for column in keys), what], value_ns, is_open[row], when[row])
        else:
            self._add(keys, view.value_ns(shown), is_open, when)

    def profile(self, naming: Naming) -> Profile:
        """Return the stacks."""
        found = named(self._weights, self._view.frames, naming, (self._over_time, self._open_ns))
        found.hidden_ns = self._hidden_ns
        return found

    def _add(
        self, keys: Columns, value_ns: NDArray[np.int64], is_open: NDArray[np.bool_], when: NDArray[np.int32]
    ) -> None:
        self._weights = self._weights or Weights(len(keys))
        groups = self._weights.add(keys, value_ns)
        more = np.zeros(len(self._weights.groups) - len(self._open_ns), np.int64)
        self._open_ns = np.concatenate((self._open_ns, more))
        np.add.at(self._open_ns, groups[is_open], value_ns[is_open])
        self._over_time.add(groups, when, value_ns)


def named(
    weights: Weights | None,
    frames_of: Callable[[Key, Naming], Frames],
    naming: Naming,
    details: tuple[Summed | None, NDArray[np.int64] | None] = (None, None),
) -> Profile:
    """Turn ids into frames: only now, once for each distinct key.

    `details` are what groups weighed in each slice, and the part of open waits by group, if there are any.
    """
    over_time, open_ns = details
    found = Profile("")
    if weights is None:
        return found
    of_open = np.zeros(len(weights.groups), np.int64) if open_ns is None else open_ns
    columns = (weights.groups.keys, weights.value_ns, weights.count, of_open)
    stacks = []
    for key, value_ns, count, part_ns in zip(*(column.tolist() for column in columns), strict=True):
        stacks.append(frames_of(tuple(key), naming))
        found.add(stacks[-1], value_ns, count, part_ns)
    if over_time:
        found.over_time = over_time.named(stacks)
    return found


def _off_cpu_keys(rows: NDArray[np.void]) -> Columns:
    return [rows["name"], rows["kind"], rows["stack"], rows["space"]]


def _off_cpu_frames(key: Key, naming: Naming) -> Frames:
    name, kind, stack, space = key
    if kind == PREEMPTED:
        return naming.name(name), "[preempted]"
    if kind == NEW:
        return naming.name(name), "[run queue]"
    return naming.blocked(name, stack, space)


def _off_wake_keys(rows: NDArray[np.void]) -> Columns:
    return [rows["name"], rows["stack"], rows["space"], *waker_columns(rows)]


def _off_wake_frames(key: Key, naming: Naming) -> Frames:
    name, stack, space, *waker = key
    return *naming.blocked(name, stack, space), "--", *naming.waker(waker)


def _wakeup_keys(rows: NDArray[np.void]) -> Columns:
    return [rows["name"], *waker_columns(rows)]


def _wakeup_frames(key: Key, naming: Naming) -> Frames:
    name, *waker = key
    *stack, who = naming.waker(waker)
    return who, *reversed(stack), naming.name(name)


OFF_CPU = IntervalView(
    lambda rows: rows["kind"] != UNKNOWN,
    _off_cpu_keys,
    lambda rows: rows["end_ns"] - rows["begin_ns"],
    _off_cpu_frames,
)
OFF_WAKE = IntervalView(is_blocked, _off_wake_keys, blocked_ns, _off_wake_frames)
WAKEUP = IntervalView(is_blocked, _wakeup_keys, blocked_ns, _wakeup_frames, root=("waker", "waker_name"))
