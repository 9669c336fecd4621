"""The vocabulary of the timeline: events that go in, threads that it keeps, intervals, slices and samples that come out.

Layouts are numpy structured dtypes, so that compiled loops and array expressions share them.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ASLEEP",
    "BLOCKED",
    "BORN",
    "DEAD",
    "ENDS",
    "EVENT",
    "GAP",
    "IDLE",
    "INTERVAL",
    "LOST",
    "MOVED",
    "NAMED",
    "NEVER",
    "NEW",
    "OPEN_BEGIN",
    "OPEN_END",
    "PID_LIMIT",
    "PREEMPTED",
    "RUNNABLE",
    "RUNNING",
    "SAMPLE",
    "SAMPLED",
    "SLICE",
    "SWITCHED",
    "THREAD",
    "UNBORN",
    "UNKNOWN",
    "UNSEEN",
    "WOKEN",
    "blocked_ns",
    "is_blocked",
]

NEVER = -1
IDLE = -1  # the waker was the idle task, or whoever an interrupt found there
PID_LIMIT = 1 << 22  # PID_MAX_LIMIT on 64-bit, include/linux/threads.h

# What an interval is.
BLOCKED, PREEMPTED, NEW, UNKNOWN = 0, 1, 2, 3
OPEN_BEGIN, OPEN_END = 1, 2

# What happens, in the order in which events of the same nanosecond are taken.
NAMED, MOVED, BORN, WOKEN, SWITCHED, SAMPLED, GAP = range(7)

# What a thread is doing.
UNSEEN, RUNNING, ASLEEP, RUNNABLE, UNBORN, DEAD, LOST = range(7)

ENDS = 0xB0  # EXIT_DEAD | EXIT_ZOMBIE | TASK_DEAD, include/linux/sched.h

EVENT = np.dtype(
    [
        ("time_ns", "i8"),
        ("until_ns", "i8"),  # GAP: its end
        ("type", "i4"),
        ("cpu", "i4"),
        ("subject", "i8"),  # SWITCHED: prev; WOKEN and BORN: target; SAMPLED and NAMED: the thread; MOVED: the process
        ("other", "i8"),  # SWITCHED: next; WOKEN and BORN: waker; NAMED: the name's id; MOVED: the space's id
        ("tgid", "i8"),  # the subject's process
        ("state", "u4"),  # SWITCHED: prev's; BORN: the name's id
        ("stack", "i4"),
        ("fired", "i4"),  # WOKEN: the label of what fired in the interrupt that woke, NEVER for nothing
    ],
    align=True,
)
"""One event of the timeline, whatever it was recorded as."""

THREAD = np.dtype(
    [
        ("tid", "i8"), ("tgid", "i8"), ("name", "i4"), ("doing", "i4"),
        ("born_ns", "i8"), ("died_ns", "i8"), ("since_ns", "i8"), ("cpu", "i4"),
        ("out_state", "u4"), ("out_stack", "i4"), ("out_name", "i4"), ("out_space", "i4"), ("samples", "i4"),
        ("wake_ns", "i8"), ("woken", "?"), ("waker", "i4"), ("waker_name", "i4"), ("waker_space", "i4"),
        ("waker_stack", "i4"), ("waker_cpu", "i4"), ("fired", "i4"), ("slice", "i8"), ("switches", "i8"),
        ("wakeups", "i8"), ("missing", "i4"),
    ],
    align=True,
)  # fmt: skip
"""A thread: its identity is its place in the table, since ids are reused. `died_ns` is NEVER while it lives.
`woken` says that the last waking, at `wake_ns`, came after the switch-out and so ended the wait."""

INTERVAL = np.dtype(
    [
        ("begin_ns", "i8"), ("wake_ns", "i8"), ("end_ns", "i8"), ("thread", "i4"), ("name", "i4"), ("space", "i4"),
        ("kind", "i4"), ("open", "i4"), ("state", "u4"), ("stack", "i4"), ("waker", "i4"), ("waker_name", "i4"),
        ("waker_space", "i4"), ("waker_stack", "i4"), ("waker_cpu", "i4"), ("fired", "i4"), ("cpu", "i4"),
    ],
    align=True,
)  # fmt: skip
"""Time off the CPU. BLOCKED and NEW: blocked from begin to wake, run queue from wake to end (NEW: begin is wake).
`waker` is a place in the thread table, IDLE where the CPU was idle; `open` says which ends lie outside the recording.
`fired` is the label of what fired in the interrupt that woke (see completions.py), NEVER where nothing is known to have."""

SLICE = np.dtype(
    [
        ("begin_ns", "i8"), ("end_ns", "i8"), ("serial", "i8"), ("thread", "i4"), ("name", "i4"), ("cpu", "i4"),
        ("samples", "i4"),
    ],
    align=True,
)  # fmt: skip
"""Time on a CPU, with the number of samples that fell into it."""

SAMPLE = np.dtype([("time_ns", "i8"), ("serial", "i8"), ("stack", "i4"), ("space", "i4")], align=True)
"""A sample of what ran, the slice that it fell into, and the address space at that moment: an exec may change it within."""


def is_blocked(intervals: NDArray[np.void]) -> NDArray[np.bool_]:
    """Tell which intervals (INTERVAL, N) are waits."""
    return np.asarray(intervals["kind"] == BLOCKED)


def blocked_ns(intervals: NDArray[np.void]) -> NDArray[np.int64]:
    """Return how long each interval (INTERVAL, N) was blocked (ns)."""
    return np.asarray(intervals["wake_ns"] - intervals["begin_ns"])
