"""The table of who waited for whom: its figures, its sources and its circles."""

from collections import Counter
from typing import Any

from hypothesis import given

from offwake.analyzer import query
from offwake.analyzer.select import Selection
from tests.analyzer.recorded import ALL, recorded
from tests.analyzer.workloads import workloads
from tests.events import IDLE, Event, Known, Stack, Switch, Trace, Waking
from tests.programs import Workload
from tests.simulator import Simulator

SLEEPS: Stack = ("main", "read", "entry_SYSCALL_64_[k]", "vfs_read_[k]", "schedule_[k]")
WAKES: Stack = ("main", "write", "entry_SYSCALL_64_[k]", "vfs_write_[k]", "try_to_wake_up_[k]")
TIMER: Stack = ("asm_sysvec_apic_timer_interrupt_[k]", "hrtimer_interrupt_[k]", "try_to_wake_up_[k]")
THREADS = tuple(Known(tid, tid, name, "S", 0) for tid, name in ((7, "seven"), (8, "eight"), (9, "nine")))


def wait(tid: int, begin: int, wake: Waking, end: int) -> tuple[Event, ...]:
    """A thread runs for ten nanoseconds on CPU 0, blocks, is woken, and comes back."""
    return (
        Switch(begin - 10, 0, IDLE, tid),
        Switch(begin, 0, tid, IDLE, 1, stack=SLEEPS),
        wake,
        Switch(end, 0, IDLE, tid),
    )


def rows_of(*events: Event) -> dict[tuple[str, str], dict[str, Any]]:
    trace = Trace(cpus=2, began_ns=1000, ended_ns=9000, threads=list(THREADS), events=list(events))
    with recorded(trace) as recording:
        return {(row["comm"], row["waited_for"]): row for row in query.table(recording, "waits-for", ALL).rows}


def test_waits_are_added_up_by_who_ended_them() -> None:
    found = rows_of(
        Switch(1090, 0, IDLE, 7),
        Switch(1100, 0, 7, IDLE, 1, stack=SLEEPS),
        Waking(1300, 1, 8, 7, WAKES),
        Switch(1310, 0, IDLE, 7),
        Switch(1400, 0, 7, IDLE, 1, stack=SLEEPS),
        Waking(1900, 1, 8, 7, WAKES),
        Switch(1910, 0, IDLE, 7),
        Switch(2000, 0, 7, IDLE, 1, stack=SLEEPS),
        Waking(2300, 1, 8, 7, TIMER),
        Switch(2310, 0, IDLE, 7),
    )
    row = found["seven", "eight"]
    assert (row["waits"], row["blocked_ns"], row["longest_ns"], row["share"]) == (2, 700, 500, 0.7)
    assert (row["waited_for_tid"], row["waited_for_pid"]) == (8, 8)
    timer = found["seven", "[timer]"]  # not the thread that it interrupted
    assert (timer["waits"], timer["blocked_ns"], timer["waited_for_tid"], timer["circle"]) == (1, 300, None, None)


def test_a_wait_whose_blocked_part_was_before_the_selected_time_is_no_wait_of_it() -> None:
    """Thread 7 is woken early, so that it was blocked for no time, and waits for a CPU; then it blocks until 1300."""
    early = (Switch(1020, 0, IDLE, 7), Waking(1040, 1, 8, 7, WAKES), Switch(1050, 0, 7, IDLE, 1, stack=SLEEPS))
    events = [*early, *wait(7, 1100, Waking(1300, 1, 8, 7, WAKES), 1350)]
    trace = Trace(cpus=2, began_ns=1000, ended_ns=2000, threads=list(THREADS), events=events)
    with recorded(trace) as recording:
        for begin_ns, waits in ((0, 2), (45, 2), (60, 1), (299, 1), (300, 0), (320, 0)):
            selected = Selection(tid=7, begin_ns=begin_ns, end_ns=900, show_all=True)
            assert sum(row["waits"] for row in query.table(recording, "waits-for", selected).rows) == waits
            assert sum(weight.count for _, weight in query.profile(recording, "off-wake", selected)) == waits
            assert bool(query.profile(recording, "chain", selected).weights) == bool(waits)
            assert query.profile(recording, "off-cpu", selected).total_ns > 0  # the run queue


def test_threads_that_wait_for_each_other_share_a_circle() -> None:
    found = rows_of(
        *wait(7, 1100, Waking(1300, 1, 8, 7, WAKES), 1310),
        Switch(1400, 0, 7, IDLE, 1, stack=SLEEPS),
        *wait(8, 2100, Waking(2300, 1, 9, 8, WAKES), 2310),
        Switch(2400, 0, 8, IDLE, 1, stack=SLEEPS),
        *wait(9, 3100, Waking(3300, 1, 7, 9, WAKES), 3310),
        Switch(3400, 0, 9, IDLE, 1, stack=SLEEPS),
    )
    assert {found[pair]["circle"] for pair in (("seven", "eight"), ("eight", "nine"), ("nine", "seven"))} == {1}
    assert found["seven", "[open]"]["circle"] is None


def test_a_thread_that_only_waits_for_a_circle_is_not_in_it() -> None:
    found = rows_of(
        *wait(7, 1100, Waking(1300, 1, 8, 7, WAKES), 1310),
        Switch(1400, 0, 7, IDLE, 1, stack=SLEEPS),
        *wait(8, 2100, Waking(2300, 1, 9, 8, WAKES), 2310),
        Switch(2400, 0, 8, IDLE, 1, stack=SLEEPS),
    )
    assert found["seven", "eight"]["circle"] is None
    assert found["eight", "nine"]["circle"] is None


def test_a_wait_that_hardly_counts_closes_no_circle() -> None:
    found = rows_of(
        *wait(7, 1100, Waking(2100, 1, 8, 7, WAKES), 2110),
        Switch(2120, 0, 7, IDLE, 1, stack=SLEEPS),
        *wait(8, 2200, Waking(2300, 1, 7, 8, WAKES), 2310),
        Switch(2320, 0, 8, IDLE, 1, stack=SLEEPS),
        Waking(8990, 1, 9, 8, WAKES),
        Switch(8995, 0, IDLE, 8),
    )
    assert 0 < found["eight", "seven"]["share"] < 0.1
    assert found["eight", "seven"]["circle"] is found["seven", "eight"]["circle"] is None


@given(workloads())
def test_it_adds_up_to_the_blocked_time_of_each_thread(workload: Workload) -> None:
    with recorded(Simulator(workload).trace) as recording:
        blocked = Counter({(row["tid"], row["comm"]): 0 for row in query.table(recording, "threads", ALL).rows})
        waited = Counter(blocked)
        for row in query.table(recording, "threads", ALL).rows:
            blocked[row["tid"], row["comm"]] += row["blocked_ns"]
        for row in query.table(recording, "waits-for", ALL).rows:
            waited[row["tid"], row["comm"]] += row["blocked_ns"]
        assert waited == blocked
