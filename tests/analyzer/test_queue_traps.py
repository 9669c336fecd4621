"""Waiting for a CPU, worked out by hand: who ran there meanwhile, and when nobody did."""

from collections import Counter

from offwake.analyzer.query import ViewOptions
from tests.analyzer.schedules import EIGHT, SEVEN, SLEEPS, TIMER, WAKES, S, stacks, trace_of, wait
from tests.events import IDLE, Comm, Event, Known, Sample, Stack, Switch, Trace, WakeupNew, Waking

NINE, TEN = Known(9, 9, "nine", "R", 0), Known(10, 10, "ten", "R", 0)
WORKS: Stack = ("main", "compute")


def queue(*events: Event, tid: int = 7) -> Counter[Stack]:
    """Return what the run-queue view shows of a thread, below its name."""
    return below(trace_of(*events, threads=(SEVEN, EIGHT, NINE, TEN)), "run-queue", tid)


def below(trace: Trace, view: str, tid: int = 7) -> Counter[Stack]:
    """Return what a view shows of one thread, below its name."""
    return Counter({frames[1:]: value_ns for frames, value_ns in stacks(trace, view, tid).items()})


def test_the_run_queue_is_told_from_waking_an_idle_cpu() -> None:
    trace = trace_of(
        Sample(1050, 0, 7, WORKS),
        Switch(1100, 0, 7, 9, S, stack=SLEEPS),
        Waking(1200, 1, 8, 7, WAKES),
        Switch(1300, 0, 9, IDLE, S, stack=SLEEPS),
        Switch(1350, 0, IDLE, 7),
        threads=(SEVEN, EIGHT, NINE),
    )
    assert below(trace, "run-queue") == {("[run queue]", "nine"): 100, ("[wake-up]",): 50}
    waits = {(*SLEEPS, "[blocked]"): 100, (*SLEEPS, "[run queue]"): 100, (*SLEEPS, "[wake-up]"): 50}
    split = stacks(trace, "off-cpu", options=ViewOptions(split=True))
    assert split == {("seven", *frames): value_ns for frames, value_ns in waits.items()}
    runs = {(*WORKS, "[on CPU]"): 100, ("[not sampled]", "[on CPU]"): 650}
    assert below(trace, "wall") == {**runs, **waits}
    assert below(trace, "wall", tid=9) == {
        ("[unknown]",): 100,
        ("[not sampled]", "[on CPU]"): 200,
        (*SLEEPS, "[blocked]"): 700,
    }


def test_a_thread_waits_for_the_cpu_that_it_comes_on() -> None:
    assert queue(
        Switch(1100, 0, 7, 9, S, stack=SLEEPS),
        Waking(1200, 1, 8, 7, WAKES),
        Switch(1250, 1, 8, IDLE, S, stack=SLEEPS),
        Switch(1300, 1, IDLE, 7),
    ) == {("[run queue]", "eight"): 50, ("[wake-up]",): 50}
    assert queue(
        Switch(1100, 0, 7, 9),
        Switch(1250, 1, 8, 7),
    ) == {("[preempted]", "eight"): 150}


def test_everyone_who_ran_while_a_thread_was_preempted_is_named() -> None:
    assert queue(
        Switch(1100, 0, 7, 9),
        Switch(1150, 0, 9, 10),
        Switch(1250, 0, 10, IDLE, S, stack=SLEEPS),
        Switch(1260, 0, IDLE, 7),
    ) == {("[preempted]", "nine"): 50, ("[preempted]", "ten"): 100, ("[preempted]", "[idle]"): 10}


def test_all_who_wait_for_a_cpu_wait_for_who_runs_there() -> None:
    events = (
        Switch(1100, 0, 7, 9),
        Switch(1150, 0, 9, 10),
        Switch(1250, 0, 10, 9),
        Switch(1300, 0, 9, 7),
        Switch(1400, 0, 7, 10),
    )
    assert queue(*events) == {
        ("[preempted]", "nine"): 50 + 50,
        ("[preempted]", "ten"): 100,
        ("[preempted]", "[open]"): 600,
    }
    assert queue(*events, tid=9) == {("[preempted]", "ten"): 100, ("[preempted]", "[open]"): 700}
    assert queue(*events, tid=10) == {("[preempted]", "nine"): 50, ("[preempted]", "seven"): 100}


def test_who_ran_is_called_as_when_it_left_the_cpu() -> None:
    assert queue(
        Switch(1100, 0, 7, 9),
        Comm(1150, 0, 9, "renamed"),
        Switch(1200, 0, 9, 7),
        Switch(1300, 0, 7, 9),
        Comm(1350, 0, 9, "again"),
        Switch(1400, 0, 9, 7),
    ) == {("[preempted]", "renamed"): 100, ("[preempted]", "again"): 100}


def test_a_new_thread_waits_for_its_first_cpu() -> None:
    trace = trace_of(
        WakeupNew(1100, 1, 8, 9, 8, "nine", WAKES),
        Switch(1150, 0, 7, IDLE, S, stack=SLEEPS),
        Switch(1160, 0, IDLE, 9),
    )
    assert below(trace, "run-queue", tid=9) == {("[run queue]", "seven"): 50, ("[wake-up]",): 10}
    split = stacks(trace, "off-cpu", 9, ViewOptions(split=True))
    assert split == {("nine", "[run queue]"): 50, ("nine", "[wake-up]"): 10}
    assert below(trace, "wall", tid=9) == {
        ("[run queue]",): 50,
        ("[wake-up]",): 10,
        ("[not sampled]", "[on CPU]"): 840,
    }


def test_a_thread_that_never_comes_on_waits_openly() -> None:
    sleeps = Switch(1100, 0, 7, IDLE, S, stack=SLEEPS)
    assert queue(sleeps, Waking(1300, 0, IDLE, 7, TIMER)) == {("[run queue]", "[open]"): 700}
    assert queue(Switch(1100, 0, 7, 9)) == {("[preempted]", "[open]"): 900}
    trace = trace_of(sleeps, Waking(1300, 0, IDLE, 7, TIMER))
    assert stacks(trace, "off-cpu", options=ViewOptions(split=True)) == {
        ("seven", *SLEEPS, "[blocked]"): 200,
        ("seven", *SLEEPS, "[run queue]"): 700,
    }


def test_wakers_are_shown_with_all_they_woke() -> None:
    idle = ("do_idle_[k]", "nohz_run_idle_balance_[k]", "try_to_wake_up_[k]")
    trace = trace_of(
        *wait(1100, Waking(1200, 1, 8, 7, WAKES), 1250),
        *wait(1300, Waking(1450, 1, 8, 7, (*WORKS, *TIMER)), 1460),
        *wait(1500, Waking(1510, 1, IDLE, 7, idle), 1520),
        *wait(1600, Waking(1800, 1, 8, 7, WAKES), 1850),
        Switch(1900, 0, 7, IDLE, S, stack=SLEEPS),
    )
    assert stacks(trace, "wakeup") == {
        ("eight", *WAKES, "seven"): 100 + 200,
        ("[timer]", *TIMER, "seven"): 150,
        ("swapper/1", *idle, "seven"): 10,
        ("[open]", "seven"): 100,
    }
