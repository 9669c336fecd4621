"""Chains through schedules that mislead, each worked out by hand: what thread 7 waited for, and what that waited for."""

from collections import Counter

import pytest

from offwake.analyzer import query
from offwake.analyzer.query import ViewOptions
from offwake.analyzer.select import Selection
from offwake.analyzer.summary import summarize
from tests.analyzer.recorded import ALL, recorded, weights_of
from tests.analyzer.schedules import DISK, EIGHT, SEVEN, SLEEPS, TIMER, WAKES, D, S, parts, stacks, trace_of, wait
from tests.chains import MOST_HOPS
from tests.events import DEAD, IDLE, Comm, Event, Exit, Fork, Known, Lost, Stack, Switch, Trace, WakeupNew, Waking

BEGAN = 1_000_000_000
BEARS: Stack = ("main", "clone", "entry_SYSCALL_64_[k]", "wake_up_new_task_[k]")


def chains(trace: Trace, chain: str = "time") -> Counter[Stack]:
    """Return what the waits of thread 7, all of them at one place, are explained by."""
    found = stacks(trace, "chain", options=ViewOptions(chain=chain))
    assert {frames[: frames.index("--")] for frames in found} <= {("seven", *SLEEPS)}
    return Counter({frames[frames.index("--") :]: value_ns for frames, value_ns in found.items()})


def hop(stack: Stack, name: str) -> Stack:
    """Return how a chain shows a waking."""
    return "--", *reversed(stack), name


def blocks(begin: int, waking: Event, end: int) -> tuple[Event, ...]:
    """Return how thread 8 blocks on CPU 1, is woken, and comes back there."""
    return Switch(begin, 1, 8, IDLE, D, stack=SLEEPS), waking, Switch(end, 1, IDLE, 8)


def reads(begin: int, end: int) -> tuple[Event, ...]:
    """Return how thread 8 waits for a disk."""
    return blocks(begin, Waking(end, 0, IDLE, 8, DISK), end)


BY_EIGHT, BY_NINE, BY_DISK, BY_TIMER = (
    hop(WAKES, "eight"),
    hop(WAKES, "nine"),
    hop(DISK, "[block device]"),
    hop(TIMER, "[timer]"),
)


def test_a_wait_is_split_by_what_its_waker_did() -> None:
    readings = [event for begin in range(1105, 2100, 100) for event in reads(begin, begin + 90)]
    trace = trace_of(*readings, *wait(1100, Waking(2100, 1, 8, 7, WAKES), 2200), ended_ns=3000)
    assert chains(trace) == {(*BY_EIGHT, "[on CPU]"): 100, (*BY_EIGHT, *BY_DISK): 900}
    assert chains(trace, "path") == {(*BY_EIGHT, *BY_DISK): 1000}


def test_a_wakers_wait_goes_on_with_who_ended_it() -> None:
    trace = trace_of(
        Switch(1100, 0, 7, 9, S, stack=SLEEPS),
        *blocks(1200, Waking(1600, 0, 9, 8, WAKES), 1650),
        Switch(1250, 0, 9, 10),
        Switch(1350, 0, 10, 9),
        Waking(1800, 1, 8, 7, WAKES),
        threads=(SEVEN, EIGHT, Known(9, 9, "nine", "R", 0), Known(10, 10, "ten", "R", 0)),
    )
    assert chains(trace) == {
        (*BY_EIGHT, "[on CPU]"): 100 + 150,
        (*BY_EIGHT, "[run queue]"): 50,
        (*BY_EIGHT, *BY_NINE, "[on CPU]"): 50 + 250,
        (*BY_EIGHT, *BY_NINE, "[preempted]"): 100,
    }
    assert chains(trace, "path") == {(*BY_EIGHT, *BY_NINE): 700}


def test_only_what_a_waker_did_inside_the_wait_explains_it() -> None:
    trace = trace_of(*reads(1010, 1050), *reads(1060, 1150), *wait(1100, Waking(1300, 1, 8, 7, WAKES), 1350))
    assert chains(trace) == {(*BY_EIGHT, "[on CPU]"): 150, (*BY_EIGHT, *BY_DISK): 50}
    assert chains(trace, "path") == {(*BY_EIGHT, *BY_DISK): 200}


def test_a_wakers_wait_before_the_wait_explains_nothing() -> None:
    trace = trace_of(*reads(1010, 1090), *wait(1100, Waking(1300, 1, 8, 7, WAKES), 1350))
    assert chains(trace) == {(*BY_EIGHT, "[on CPU]"): 200}
    assert chains(trace, "path") == {BY_EIGHT: 200}


def test_a_waker_preempted_on_its_way_to_sleep_did_not_block() -> None:
    trace = trace_of(
        Switch(1150, 1, 8, 9, S, preempted=True),
        Waking(1200, 0, IDLE, 8, TIMER),
        Switch(1250, 1, 9, 8),
        *wait(1100, Waking(1300, 1, 8, 7, WAKES), 1350),
    )
    assert chains(trace) == {(*BY_EIGHT, "[on CPU]"): 100, (*BY_EIGHT, "[preempted]"): 100}
    assert chains(trace, "path") == {BY_EIGHT: 200}


def test_a_stale_waking_of_the_waker_leads_nowhere() -> None:
    trace = trace_of(
        Waking(1120, 0, IDLE, 8, TIMER),
        Switch(1150, 1, 8, 9),
        Switch(1250, 1, 9, 8),
        *wait(1100, Waking(1300, 1, 8, 7, WAKES), 1350),
    )
    assert chains(trace) == {(*BY_EIGHT, "[on CPU]"): 100, (*BY_EIGHT, "[preempted]"): 100}
    assert chains(trace, "path") == {BY_EIGHT: 200}


def test_a_waker_woken_before_its_sleeping_switch_out_did_not_block() -> None:
    trace = trace_of(
        Waking(1140, 0, IDLE, 8, TIMER),
        Switch(1150, 1, 8, IDLE, S, stack=SLEEPS),
        Switch(1250, 1, IDLE, 8),
        *wait(1100, Waking(1300, 1, 8, 7, WAKES), 1350),
    )
    assert chains(trace) == {(*BY_EIGHT, "[on CPU]"): 100, (*BY_EIGHT, "[run queue]"): 100}
    assert chains(trace, "path") == {BY_EIGHT: 200}


def test_a_waker_with_a_reused_id_did_not_do_what_the_one_before_did() -> None:
    trace = trace_of(
        Switch(1100, 0, 7, 9, S, stack=SLEEPS),
        Switch(1150, 0, 9, IDLE, S, stack=SLEEPS),
        Waking(1250, 0, IDLE, 9, TIMER),
        Switch(1260, 0, IDLE, 9),
        Switch(1300, 0, 9, IDLE, DEAD),
        Fork(1490, 1, 8, 9, 8),
        WakeupNew(1500, 1, 8, 9, 8, "again", BEARS),
        Switch(1540, 0, IDLE, 9),
        Waking(1900, 0, 9, 7, WAKES),
        threads=(SEVEN, EIGHT, Known(9, 9, "nine", "R", 0)),
    )
    by_again = hop(WAKES, "again")
    assert chains(trace) == {
        (*by_again, *hop(BEARS, "eight"), "[on CPU]"): 400,
        (*by_again, "[run queue]"): 40,
        (*by_again, "[on CPU]"): 360,
    }
    assert chains(trace, "path") == {(*by_again, *hop(BEARS, "eight")): 800}


def test_wakers_have_the_names_that_they_had_when_they_woke() -> None:
    trace = trace_of(
        Switch(1100, 0, 7, 9, S, stack=SLEEPS),
        *blocks(1150, Waking(1200, 0, 9, 8, WAKES), 1200),
        Comm(1220, 0, 9, "later"),
        Comm(1250, 1, 8, "ls", by_exec=True),
        Waking(1300, 1, 8, 7, WAKES),
        Comm(1400, 1, 8, "later", by_exec=True),
        threads=(SEVEN, EIGHT, Known(9, 9, "nine", "R", 0)),
    )
    by_ls = hop(WAKES, "ls")
    assert chains(trace) == {(*by_ls, "[on CPU]"): 150, (*by_ls, *BY_NINE, "[on CPU]"): 50}
    assert chains(trace, "path") == {(*by_ls, *BY_NINE): 200}


@pytest.mark.parametrize("chain", ["time", "path"])
def test_a_timeout_against_a_wake_is_won_by_the_first(chain: str) -> None:
    timer, wake = Waking(1300, 0, IDLE, 7, TIMER), Waking(1320, 1, 8, 7, WAKES)
    assert chains(trace_of(*wait(1100, timer, 1350), wake), chain) == {BY_TIMER: 200}
    timer, wake = Waking(1320, 0, IDLE, 7, TIMER), Waking(1300, 1, 8, 7, WAKES)
    (frames,) = chains(trace_of(*wait(1100, timer, 1350), wake), chain)
    assert frames[: len(BY_EIGHT)] == BY_EIGHT


@pytest.mark.parametrize("chain", ["time", "path"])
def test_a_thread_that_wakes_itself_waited_for_its_timer_or_not_at_all(chain: str) -> None:
    timer = Waking(1300, 0, 7, 7, (*SLEEPS, *TIMER))
    assert chains(trace_of(*wait(1100, timer, 1350)), chain) == {BY_TIMER: 200}
    asleep, back = Switch(1110, 0, 7, IDLE, S, stack=SLEEPS), Switch(1200, 0, IDLE, 7)
    trace = trace_of(Waking(1100, 0, 7, 7, WAKES), asleep, back)
    assert chains(trace, chain) == stacks(trace, "wakeup") == {}
    assert parts(trace) == {"on_cpu": 910, "run_queue": 90}


RECEIVES: Stack = ("__local_bh_enable_ip_[k]", "do_softirq_[k]", "handle_softirqs_[k]", "net_rx_action_[k]")


@pytest.mark.parametrize("chain", ["time", "path"])
def test_chains_go_on_over_loopback_and_end_at_a_network_device(chain: str) -> None:
    local = ("main", "send", "entry_SYSCALL_64_[k]", *RECEIVES, "process_backlog_[k]", "try_to_wake_up_[k]")
    trace = trace_of(*reads(1100, 1300), *wait(1100, Waking(1300, 1, 8, 7, local), 1350))
    assert chains(trace, chain) == {(*hop(local, "eight"), *BY_DISK): 200}
    remote = (*RECEIVES, "virtnet_poll_[k]", "try_to_wake_up_[k]")
    sends = ("main", "send", "entry_SYSCALL_64_[k]", *remote)
    trace = trace_of(*reads(1100, 1300), *wait(1100, Waking(1300, 1, 8, 7, sends), 1350))
    assert chains(trace, chain) == {hop(remote, "[network device]"): 200}


@pytest.mark.parametrize("chain", ["time", "path"])
def test_an_interrupt_ends_a_chain_whatever_it_interrupted(chain: str) -> None:
    interrupted = ("main", "compute", *TIMER)
    trace = trace_of(*reads(1110, 1290), *wait(1100, Waking(1300, 1, 8, 7, interrupted), 1350))
    assert chains(trace, chain) == {BY_TIMER: 200}
    idle = ("do_idle_[k]", "nohz_run_idle_balance_[k]", "try_to_wake_up_[k]")
    trace = trace_of(*wait(1100, Waking(1300, 1, IDLE, 7, idle), 1350))
    assert chains(trace, chain) == {hop(idle, "swapper/1"): 200}


def test_what_came_before_a_waker_was_born_is_its_parents() -> None:
    trace = trace_of(
        Switch(1100, 0, 7, IDLE, S, stack=SLEEPS),
        *reads(1200, 1300),
        Fork(1490, 1, 8, 9, 8),
        WakeupNew(1500, 1, 8, 9, 8, "eight", BEARS),
        Switch(1550, 0, IDLE, 9),
        *reads(1600, 1700),
        Waking(1900, 0, 9, 7, WAKES),
    )
    by_parent = (*BY_EIGHT, *hop(BEARS, "eight"))
    assert chains(trace) == {
        (*by_parent, "[on CPU]"): 300,
        (*by_parent, *BY_DISK): 100,
        (*BY_EIGHT, "[run queue]"): 50,
        (*BY_EIGHT, "[on CPU]"): 350,
    }
    assert chains(trace, "path") == {(*by_parent, *BY_DISK): 800}


def test_a_waker_born_before_the_wait_stands_for_itself() -> None:
    trace = trace_of(
        *reads(1020, 1040),
        WakeupNew(1050, 1, 8, 9, 8, "nine", BEARS),
        Switch(1100, 0, 7, 9, S, stack=SLEEPS),
        Waking(1300, 0, 9, 7, WAKES),
    )
    assert chains(trace) == {(*BY_NINE, "[on CPU]"): 200}
    assert chains(trace, "path") == {BY_NINE: 200}


@pytest.mark.parametrize("state", [DEAD, 0x10, 0x20])
def test_who_joins_a_thread_waits_for_what_it_did_until_its_end(state: int) -> None:
    exits = ("start_thread", "entry_SYSCALL_64_[k]", "do_exit_[k]", "try_to_wake_up_[k]")
    trace = trace_of(
        *reads(1200, 1300),
        Exit(1390, 1, 8),
        *wait(1100, Waking(1400, 1, 8, 7, exits), 1450),
        Switch(1410, 1, 8, IDLE, state),
    )
    assert chains(trace) == {(*hop(exits, "eight"), "[on CPU]"): 200, (*hop(exits, "eight"), *BY_DISK): 100}
    assert chains(trace, "path") == {(*hop(exits, "eight"), *BY_DISK): 300}


def test_a_waker_migrates() -> None:
    trace = trace_of(
        Switch(1100, 0, 7, IDLE, S, stack=SLEEPS),
        Switch(1150, 1, 8, IDLE),
        Switch(1170, 0, IDLE, 8),
        Switch(1200, 0, 8, IDLE, D, stack=SLEEPS),
        Waking(1240, 0, IDLE, 8, DISK),
        Switch(1250, 1, IDLE, 8),
        Waking(1300, 1, 8, 7, WAKES),
    )
    assert chains(trace) == {
        (*BY_EIGHT, "[on CPU]"): 50 + 30 + 50,
        (*BY_EIGHT, "[preempted]"): 20,
        (*BY_EIGHT, *BY_DISK): 40,
        (*BY_EIGHT, "[run queue]"): 10,
    }


def test_a_gap_across_a_wait_leaves_nothing_to_explain() -> None:
    trace = trace_of(Waking(1150, 1, 8, 9), Lost(1200, 1, 3), *wait(1100, Waking(1300, 1, 8, 7, WAKES), 1350))
    assert chains(trace) == chains(trace, "path") == {}
    assert parts(trace) == {"on_cpu": 750, "unknown": 250}


def test_what_a_waker_did_when_events_were_lost_is_unknown() -> None:
    lost = (Waking(1050, 1, 8, 9), Lost(1090, 1, 3))
    before = trace_of(*lost, *reads(1150, 1200), *wait(1100, Waking(1300, 1, 8, 7, WAKES), 1350))
    assert chains(before) == {(*BY_EIGHT, "[unknown]"): 50, (*BY_EIGHT, *BY_DISK): 50, (*BY_EIGHT, "[on CPU]"): 100}
    assert chains(before, "path") == {(*BY_EIGHT, *BY_DISK): 200}
    after = trace_of(*lost, *wait(1100, Waking(1300, 1, 8, 7, WAKES), 1350))
    assert chains(after) == chains(after, "path") == {(*BY_EIGHT, "[unknown]"): 200}


def test_what_a_waker_did_before_it_was_seen_is_unknown() -> None:
    trace = trace_of(
        Switch(1100, 0, 7, IDLE, S, stack=SLEEPS),
        Switch(1300, 0, IDLE, 9),
        Waking(1400, 0, 9, 7, WAKES),
        threads=(SEVEN, EIGHT, Known(9, 9, "nine", "R", 0)),
    )
    assert chains(trace) == {(*BY_NINE, "[unknown]"): 200, (*BY_NINE, "[on CPU]"): 100}
    assert chains(trace, "path") == {(*BY_NINE, "[unknown]"): 300}


def test_a_waker_that_slept_when_the_recording_began() -> None:
    trace = trace_of(
        Switch(1100, 0, 7, IDLE, S, stack=SLEEPS),
        Waking(1200, 0, IDLE, 9, DISK),
        Switch(1250, 0, IDLE, 9),
        Waking(1300, 0, 9, 7, WAKES),
        threads=(SEVEN, EIGHT, Known(9, 9, "nine", "D")),
    )
    assert chains(trace) == {
        (*BY_NINE, *BY_DISK): 100,
        (*BY_NINE, "[run queue]"): 50,
        (*BY_NINE, "[on CPU]"): 50,
    }
    assert chains(trace, "path") == {(*BY_NINE, *BY_DISK): 200}


@pytest.mark.parametrize("chain", ["time", "path"])
def test_an_open_wait_ends_openly(chain: str) -> None:
    trace = trace_of(*reads(1200, 1300), Switch(1100, 0, 7, IDLE, S, stack=SLEEPS))
    assert chains(trace, chain) == {("--", "[open]"): 900}


def test_a_clock_that_steps_back_changes_no_chain() -> None:
    leaves, waking, comes = reads(1200, 1201)
    switches = (leaves, Switch(1250, 1, 8, 9), Switch(1270, 1, 9, 8))
    in_order = (*switches[:1], waking, comes, *switches[1:], *wait(1100, Waking(1300, 1, 8, 7, WAKES), 1350))
    trace = trace_of(*in_order)
    stepping = trace_of(*in_order[:2][::-1], in_order[2], *in_order[3:5][::-1], *in_order[5:])
    expected = {(*BY_EIGHT, "[on CPU]"): 179, (*BY_EIGHT, *BY_DISK): 1, (*BY_EIGHT, "[preempted]"): 20}
    assert chains(trace) == chains(stepping) == expected


def test_two_threads_that_wake_each_other_do_not_wait_in_a_circle() -> None:
    events: list[Event] = [Switch(1100, 0, 7, IDLE, S, stack=SLEEPS)]
    for begin in range(1200, 1800, 200):
        events += wait(begin + 110, Waking(begin, 1, 8, 7, WAKES), begin + 20)[1:]
        events += blocks(begin + 10, Waking(begin + 100, 0, 7, 8, WAKES), begin + 120)
        events += wait(begin + 110, Waking(0, 0, 0, 0), 0)[:1]
    trace = trace_of(*sorted(events, key=lambda event: event.time_ns))
    # Thread 8 runs for 90 ns of each wait of thread 7, and is in the run queue for the first 10.
    assert chains(trace) == {
        (*BY_EIGHT, "[on CPU]"): 100 + 80 + 80,
        (*BY_EIGHT, "[run queue]"): 10 + 10,
        ("--", "[open]"): 2000 - 1710,
    }
    assert chains(trace, "path") == {BY_EIGHT: 100 + 90 + 90, ("--", "[open]"): 2000 - 1710}


def relay(wakers: int) -> Trace:
    """Return a recording in which all sleep at first, and the last of so many wakers wakes the one before, and so on."""
    first, last = 7, 7 + wakers
    sleepers = [Known(tid, tid, f"thread {tid}", "S", 0, ("schedule_[k]",)) for tid in range(first, last)]
    events: list[Event] = []
    for begin, tid in zip(range(1100, 2000, 10), range(last, first, -1), strict=False):
        events += [Waking(begin, 0, tid, tid - 1, ("wake_[k]",)), Switch(begin + 5, 0, tid, tid - 1, S, stack=SLEEPS)]
    return trace_of(*events, threads=(*sleepers, Known(last, last, f"thread {last}", "R", 0)))


@pytest.mark.parametrize("extra", [0, 1, 6])
def test_chains_of_more_than_so_many_wakers_are_cut_short(extra: int) -> None:
    trace = relay(MOST_HOPS + extra)
    by_time = stacks(trace, "chain")
    assert max(frames.count("--") for frames in by_time) == MOST_HOPS
    blocked_ns = 100 + 10 * (MOST_HOPS + extra - 1)
    cut_ns = sum(value_ns for frames, value_ns in by_time.items() if frames[-1] == "[truncated]")
    assert (by_time.total(), cut_ns) == (blocked_ns, 90 + 10 * extra if extra else 0)
    (path,) = stacks(trace, "chain", options=ViewOptions(chain="path"))
    assert (path.count("--"), path[-1] == "[truncated]") == (MOST_HOPS, extra > 0)


def test_a_selected_time_cuts_waits_and_not_what_explains_them() -> None:
    trace = trace_of(*reads(1150, 1350), *wait(1100, Waking(1500, 1, 8, 7, WAKES), 1550))
    with recorded(trace) as recording:
        for chain, expected in (
            ("time", {(*BY_EIGHT, "[on CPU]"): 50, (*BY_EIGHT, *BY_DISK): 150}),
            ("path", {(*BY_EIGHT, *BY_DISK): 200}),
        ):
            selection = Selection(tid=7, begin_ns=100, end_ns=300)
            found = weights_of(query.profile(recording, "chain", selection, ViewOptions(chain=chain)))
            assert found == {("seven", *SLEEPS, *frames): value_ns for frames, value_ns in expected.items()}


def test_a_selected_time_before_a_waker_was_born_is_its_parents() -> None:
    trace = trace_of(
        Switch(1100, 0, 7, IDLE, S, stack=SLEEPS),
        WakeupNew(1500, 1, 8, 9, 8, "nine", BEARS),
        Switch(1550, 0, IDLE, 9),
        Waking(1900, 0, 9, 7, WAKES),
    )
    with recorded(trace) as recording:
        found = weights_of(query.profile(recording, "chain", Selection(tid=7, begin_ns=0, end_ns=200)))
    assert found == {("seven", *SLEEPS, *BY_NINE, *hop(BEARS, "eight"), "[on CPU]"): 100}


def test_names_that_are_the_mark_between_a_wait_and_its_waker() -> None:
    asleep, waking = ("--", "schedule_[k]"), ("--", "try_to_wake_up_[k]")
    threads = [Known(7, 7, "--", "R"), Known(8, 8, "--")]
    events: list[Event] = [
        Switch(BEGAN + 10, 0, 7, 8, S, stack=asleep),
        Waking(BEGAN + 500, 0, 8, 7, waking),
        Switch(BEGAN + 510, 0, 8, 7, S, stack=asleep),
    ]
    with recorded(Trace(began_ns=BEGAN, ended_ns=BEGAN + 900, threads=threads, events=events)) as recording:
        found = weights_of(query.profile(recording, "chain", ALL))
        wait = summarize(recording).waits[0]
    assert found["(--)", "(--)", "schedule_[k]", "--", "try_to_wake_up_[k]", "(--)", "(--)", "[on CPU]"] == 490
    assert (wait.target, wait.waited_in, wait.reasons[0].words) == ("(--)", "(--)", "(--), running")
