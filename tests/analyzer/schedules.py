"""Small schedules made by hand, and what the analyzer says of them.

Recordings last from 1000 to 2000 ns. Thread 7 is on CPU 0 at the beginning, thread 8 on CPU 1, unless a test says
otherwise.
"""

from collections import Counter

from offwake.analyzer import query
from offwake.analyzer.query import ViewOptions
from offwake.analyzer.select import Selection
from tests.analyzer.recorded import ALL, recorded, weights_of
from tests.events import IDLE, Event, Known, Stack, Switch, Trace
from tests.truth import PARTS

__all__ = [
    "DISK",
    "EIGHT",
    "SEVEN",
    "SLEEPS",
    "TIMER",
    "WAKES",
    "D",
    "S",
    "parts",
    "rows",
    "stacks",
    "trace_of",
    "wait",
]

SEVEN = Known(7, 7, "seven", "R", 0)
EIGHT = Known(8, 8, "eight", "R", 1)
SLEEPS: Stack = ("main", "read", "entry_SYSCALL_64_[k]", "vfs_read_[k]", "schedule_[k]")
WAKES: Stack = ("main", "write", "entry_SYSCALL_64_[k]", "vfs_write_[k]", "try_to_wake_up_[k]")
TIMER: Stack = ("asm_sysvec_apic_timer_interrupt_[k]", "hrtimer_interrupt_[k]", "try_to_wake_up_[k]")
DISK: Stack = ("asm_common_interrupt_[k]", "blk_mq_end_request_[k]", "try_to_wake_up_[k]")
S, D = 1, 2


def trace_of(*events: Event, threads: tuple[Known, ...] = (SEVEN, EIGHT), ended_ns: int = 2000) -> Trace:
    """Return a recording of these events on two CPUs."""
    return Trace(cpus=2, began_ns=1000, ended_ns=ended_ns, threads=list(threads), events=list(events))


def wait(begin: int, wake: Event, end: int) -> tuple[Event, ...]:
    """Return how thread 7 blocks on CPU 0, is woken, and comes back there."""
    return Switch(begin, 0, 7, IDLE, S, stack=SLEEPS), wake, Switch(end, 0, IDLE, 7)


def rows(trace: Trace) -> list[dict[str, int | str]]:
    """Return the table of threads: of each id, name and the parts that are not zero."""
    with recorded(trace) as recording:
        found = sorted(query.table(recording, "threads", ALL).rows, key=lambda row: (row["tid"], row["comm"]))
    for row in found:
        assert sum(row[f"{part}_ns"] for part in PARTS) <= trace.ended_ns - trace.began_ns
    return [
        {"tid": row["tid"], "comm": row["comm"], **{part: row[f"{part}_ns"] for part in PARTS if row[f"{part}_ns"]}}
        for row in found
    ]


def parts(trace: Trace, tid: int = 7) -> dict[str, int]:
    """Return the parts of the one thread with this id that are not zero."""
    (row,) = (row for row in rows(trace) if row["tid"] == tid)
    return {part: int(row[part]) for part in PARTS if part in row}


def stacks(trace: Trace, view: str, tid: int = 7, options: ViewOptions | None = None) -> Counter[Stack]:
    """Return what a view shows of one thread."""
    with recorded(trace) as recording:
        selection = Selection(tid=tid, show_all=True)
        return weights_of(query.profile(recording, view, selection, options or ViewOptions()))
