"""Scheduler events in the abstract, and a recording made of them: what tests write down and `traces` turns into bytes.

A stack is a tuple of function names, root first; kernel frames end in `_[k]`, as in every picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "DEAD",
    "IDLE",
    "Comm",
    "Event",
    "Exit",
    "Fork",
    "Known",
    "Lost",
    "Other",
    "Sample",
    "Stack",
    "Switch",
    "Trace",
    "Waking",
    "WakeupNew",
    "state_letter",
]

Stack = tuple[str, ...]

IDLE = 0
"""The thread id of every CPU's idle task."""
DEAD = 0x80
"""TASK_DEAD, the state of a thread's last switch-out."""


@dataclass(frozen=True, eq=False)
class Event:
    """Something that happened on a CPU (time: CLOCK_MONOTONIC). Two events are the same only if they are one object."""

    time_ns: int
    cpu: int


@dataclass(frozen=True, eq=False)
class Switch(Event):
    """sched_switch: `prev` leaves the CPU in the raw kernel `state`, with its stack if it blocks; `next` comes on."""

    prev: int
    next: int
    state: int = 0
    preempted: bool = False
    stack: Stack = ()


@dataclass(frozen=True, eq=False)
class Waking(Event):
    """sched_waking: `waker` is current on the CPU; the stack is what runs there, an interrupt's frames on top."""

    waker: int
    target: int
    stack: Stack = ()


@dataclass(frozen=True, eq=False)
class WakeupNew(Event):
    """sched_wakeup_new: a thread's life begins."""

    waker: int
    target: int
    tgid: int
    comm: str
    stack: Stack = ()


@dataclass(frozen=True, eq=False)
class Sample(Event):
    """A cpu-clock sample."""

    tid: int
    stack: Stack = ()


@dataclass(frozen=True, eq=False)
class Other(Event):
    """An event of another source, by the name of its kind, and the fields that are not zero."""

    kind: str
    fields: Mapping[str, int | bytes]


@dataclass(frozen=True, eq=False)
class Lost(Event):
    """The ring was full: so many records are missing before this one."""

    count: int


@dataclass(frozen=True, eq=False)
class Comm(Event):
    """Side-band: a thread has a new name, by exec or prctl."""

    tid: int
    comm: str
    by_exec: bool = False


@dataclass(frozen=True, eq=False)
class Fork(Event):
    """Side-band: a thread was made; a process if `tgid` is its own id."""

    parent: int
    tid: int
    tgid: int


@dataclass(frozen=True, eq=False)
class Exit(Event):
    """Side-band: a thread is about to go."""

    tid: int


@dataclass(frozen=True)
class Known:
    """A thread as /proc shows it when the recording begins. A sleeping one has its kernel stack, root first."""

    tid: int
    tgid: int
    comm: str
    state: str = "S"
    cpu: int = 0
    stack: Stack = ()


@dataclass
class Trace:
    """A recording. One CPU's records have the order of `events`, which need not quite be that of time.

    Cgroups are paths, each with the processes in it, when the recording begins and when it ends. Listeners are processes
    that serve others. With `user_stacks` events name their stacks; what they are goes with the first event that has them.
    `ticks` are more keys of the ticks that end a segment, by its number from 0.
    """

    cpus: int = 1
    began_ns: int = 1_000_000_000
    ended_ns: int = 1_000_001_000
    threads: list[Known] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    recorder_pid: int = 999_999
    cgroups: list[tuple[str, list[int]]] = field(default_factory=list)
    cgroups_at_end: list[tuple[str, list[int]]] = field(default_factory=list)
    listeners: list[int] = field(default_factory=list)
    user_stacks: bool = False
    ticks: dict[int, dict[str, Any]] = field(default_factory=dict)


def state_letter(state: int) -> str:
    """Name a raw kernel state as /proc does, for the states that tests use. Source: fs/proc/array.c, get_task_state."""
    if state & 0x400 and state & 2:  # TASK_NOLOAD | TASK_UNINTERRUPTIBLE
        return "I"
    for bit, letter in ((1, "S"), (2, "D"), (4, "T"), (8, "t"), (0x10, "X"), (0x20, "Z"), (0x40, "P"), (DEAD, "X")):
        if state & bit:
            return letter
    return "R"
