"""The stack views: each a function from what a batch brought to weighted keys, and from a key to frames."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.intervals import BLOCKED, NEW, OPEN_END, PREEMPTED, UNKNOWN
from offwake.analyzer.naming import Frames, Naming

__all__ = ["INTERVAL_VIEWS", "IntervalView"]

Keys = list[NDArray[np.int32]]
Key = tuple[int, ...]

NO_WAKER = -2


@dataclass(frozen=True)
class IntervalView:
    """A view of intervals off the CPU: which of them count, their keys and weights, and what a key is called."""

    name: str
    summary: str
    counts: Callable[[NDArray[np.void]], NDArray[np.bool_]]
    keys: Callable[[NDArray[np.void]], Keys]
    value_ns: Callable[[NDArray[np.void]], NDArray[np.int64]]
    frames: Callable[[Key, Naming], Frames]


def _off_cpu_keys(rows: NDArray[np.void]) -> Keys:
    return [rows["name"], rows["kind"], rows["stack"], rows["space"]]


def _off_cpu_frames(key: Key, naming: Naming) -> Frames:
    name, kind, stack, space = key
    if kind == PREEMPTED:
        return naming.name(name), "[preempted]"
    if kind == NEW:
        return naming.name(name), "[run queue]"
    return naming.name(name), *(naming.root_first(stack, space) or ("[no stack]",))


def _off_wake_keys(rows: NDArray[np.void]) -> Keys:
    """The waker's last part is the CPU on which an idle task or an interrupt woke, −1 for a thread."""
    is_open = (rows["open"] & OPEN_END > 0) & (rows["waker_cpu"] < 0)
    idle_cpu = np.where(is_open, NO_WAKER, np.where(rows["waker"] < 0, rows["waker_cpu"], -1))
    return [rows[column] for column in ("name", "stack", "space", "waker_name", "waker_stack", "waker_space")] + [
        idle_cpu
    ]


def _off_wake_frames(key: Key, naming: Naming) -> Frames:
    name, stack, space, waker_name, waker_stack, waker_space, idle_cpu = key
    blocked = (naming.name(name), *(naming.root_first(stack, space) or ("[no stack]",)), "--")
    if idle_cpu == NO_WAKER:
        return *blocked, "[open]"
    return *blocked, *naming.waker(waker_name, waker_stack, waker_space, idle_cpu)


INTERVAL_VIEWS = {
    view.name: view
    for view in (
        IntervalView(
            "off-cpu",
            "where threads left the CPU, weighted by all the time until they ran again",
            lambda rows: rows["kind"] != UNKNOWN,
            _off_cpu_keys,
            lambda rows: rows["end_ns"] - rows["begin_ns"],
            _off_cpu_frames,
        ),
        IntervalView(
            "off-wake",
            "where threads blocked, and who woke them from where, weighted by blocked time",
            lambda rows: rows["kind"] == BLOCKED,
            _off_wake_keys,
            lambda rows: rows["wake_ns"] - rows["begin_ns"],
            _off_wake_frames,
        ),
    )
}
