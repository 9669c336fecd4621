"""Schedules that mislead, each with the answer worked out by hand."""

import pytest

from offwake.analyzer import query
from offwake.analyzer.select import Selection
from tests.analyzer.recorded import ALL, recorded, weights_of
from tests.analyzer.schedules import EIGHT, SEVEN, SLEEPS, TIMER, WAKES, D, S, parts, rows, stacks, trace_of, wait
from tests.events import DEAD, IDLE, Comm, Exit, Fork, Known, Lost, Sample, Stack, Switch, WakeupNew, Waking


def test_an_ordinary_wait() -> None:
    trace = trace_of(*wait(1100, Waking(1300, 1, 8, 7, WAKES), 1350))
    assert parts(trace) == {"on_cpu": 750, "blocked": 200, "run_queue": 50}
    assert stacks(trace, "off-cpu") == {("seven", *SLEEPS): 250}
    assert stacks(trace, "off-wake") == {("seven", *SLEEPS, "--", *reversed(WAKES), "eight"): 200}


def test_a_sample_before_an_exec_is_of_the_old_program() -> None:
    trace = trace_of(
        Sample(1200, 0, 7, ("main", "execve")),
        Comm(1400, 0, 7, "other", by_exec=True),
        Sample(1600, 0, 7, ("main", "work")),
        Switch(1800, 0, 7, IDLE, S, stack=SLEEPS),
    )
    assert stacks(trace, "on-cpu") == {("other", "main", "execve"): 400, ("other", "main", "work"): 400}
    with recorded(trace) as recording:
        assert query.histogram(recording, "on-cpu", Selection(tid=7, grep="execve")).total == 1


def test_a_thread_preempted_on_its_way_to_sleep_does_not_block() -> None:
    trace = trace_of(Switch(1100, 0, 7, 9, S, preempted=True), Switch(1300, 0, 9, 7))
    assert parts(trace) == {"on_cpu": 800, "preempted": 200}
    assert stacks(trace, "off-cpu") == {("seven", "[preempted]"): 200}
    assert stacks(trace, "off-wake") == {}


def test_a_waking_while_the_thread_runs_ends_no_later_preemption() -> None:
    trace = trace_of(Waking(1100, 1, 8, 7, WAKES), Switch(1200, 0, 7, 9), Switch(1300, 0, 9, 7))
    assert parts(trace) == {"on_cpu": 900, "preempted": 100}
    assert stacks(trace, "off-wake") == {}


def test_a_waking_while_the_thread_is_preempted_ends_no_later_wait() -> None:
    timer = Waking(1500, 0, IDLE, 7, TIMER)
    trace = trace_of(
        Switch(1100, 0, 7, 9, S, preempted=True),
        Waking(1150, 1, 8, 7, WAKES),
        Switch(1200, 0, 9, 7),
        *wait(1300, timer, 1600),
    )
    assert parts(trace) == {"on_cpu": 600, "preempted": 100, "blocked": 200, "run_queue": 100}
    assert stacks(trace, "off-wake") == {("seven", *SLEEPS, "--", *reversed(TIMER), "[timer]"): 200}


def test_a_waking_before_the_sleeping_switch_out_leaves_only_run_queue() -> None:
    asleep, back = Switch(1110, 0, 7, IDLE, S, stack=SLEEPS), Switch(1200, 0, IDLE, 7)
    trace = trace_of(Waking(1100, 1, 8, 7, WAKES), asleep, back)
    assert parts(trace) == {"on_cpu": 910, "run_queue": 90}
    assert stacks(trace, "off-cpu") == {("seven", *SLEEPS): 90}


def test_a_waking_while_the_thread_ran_ends_no_wait_that_is_still_open() -> None:
    trace = trace_of(Waking(1100, 1, 8, 7, WAKES), Switch(1500, 0, 7, IDLE, S, stack=SLEEPS))
    assert parts(trace) == {"on_cpu": 500, "blocked": 500}
    assert stacks(trace, "off-wake") == {("seven", *SLEEPS, "--", "[open]"): 500}


def test_a_sleeping_thread_that_comes_back_unwoken_is_unknown() -> None:
    trace = trace_of(Switch(1100, 0, 7, IDLE, S, stack=SLEEPS), Switch(1300, 0, IDLE, 7))
    assert parts(trace) == {"on_cpu": 800, "unknown": 200}


@pytest.mark.parametrize("state", [1, 2, 4, 0x402, 0x102, 0x2001])
def test_sleeping_states_are_bits(state: int) -> None:
    trace = trace_of(Switch(1100, 0, 7, IDLE, state, stack=SLEEPS), Waking(1200, 1, 8, 7), Switch(1250, 0, IDLE, 7))
    assert parts(trace) == {"on_cpu": 850, "blocked": 100, "run_queue": 50}


@pytest.mark.parametrize("state", [DEAD, 0x10, 0x20])
def test_a_life_ends_with_its_last_switch_out(state: int) -> None:
    trace = trace_of(Exit(1390, 0, 7), Switch(1400, 0, 7, IDLE, state))
    assert parts(trace) == {"on_cpu": 400}
    assert stacks(trace, "off-wake") == {}


@pytest.mark.parametrize("state", ["Z", "X"])
def test_a_thread_that_is_dead_already_never_waits(state: str) -> None:
    trace = trace_of(threads=(Known(7, 7, "seven", state),))
    assert stacks(trace, "off-cpu") == stacks(trace, "off-wake") == {}


def test_a_reused_id_is_another_thread() -> None:
    trace = trace_of(
        Switch(1100, 0, 7, IDLE, DEAD),
        WakeupNew(1500, 1, 8, 7, 8, "again"),
        Switch(1540, 0, IDLE, 7),
        Switch(1600, 0, 7, IDLE, S, stack=SLEEPS),
    )
    assert rows(trace) == [
        {"tid": 7, "comm": "again", "on_cpu": 60, "blocked": 400, "run_queue": 40},
        {"tid": 7, "comm": "seven", "on_cpu": 100},
        {"tid": 8, "comm": "eight", "on_cpu": 1000},
    ]


def test_a_new_program_has_a_new_name_and_new_addresses() -> None:
    trace = trace_of(
        Fork(1090, 1, 8, 9, 9),
        WakeupNew(1100, 1, 8, 9, 9, "eight", WAKES),
        Switch(1150, 0, 7, 9),
        Switch(1200, 0, 9, 7, D, stack=SLEEPS),
        Waking(1250, 1, 8, 9, WAKES),
        Switch(1260, 0, 7, 9),
        Comm(1300, 0, 9, "ls", by_exec=True),
        Switch(1400, 0, 9, 7, D, stack=SLEEPS),
        Waking(1500, 1, 8, 9, WAKES),
    )
    assert rows(trace)[-1] == {"tid": 9, "comm": "ls", "on_cpu": 190, "blocked": 150, "run_queue": 560}
    assert stacks(trace, "off-cpu", tid=9) == {
        ("eight", "[run queue]"): 50,
        ("eight", *SLEEPS): 60,
        ("ls", *SLEEPS): 600,
    }


INTERRUPTED: Stack = ("main", "compute", "asm_exc_page_fault_[k]", "handle_mm_fault_[k]")
IRQ: Stack = ("asm_common_interrupt_[k]", "common_interrupt_[k]")
WAKE: Stack = ("try_to_wake_up_[k]",)


@pytest.mark.parametrize(
    ("below", "interrupt", "source"),
    [
        (INTERRUPTED, TIMER, "[timer]"),
        (INTERRUPTED, (*IRQ, "blk_mq_end_request_[k]", *WAKE), "[block device]"),
        (
            INTERRUPTED,
            (*IRQ, "__irq_exit_rcu_[k]", "handle_softirqs_[k]", "net_rx_action_[k]", *WAKE),
            "[network device]",
        ),
        (INTERRUPTED, (*IRQ, "acpi_irq_[k]", *WAKE), "[interrupt]"),
        ((), TIMER, "[timer]"),
    ],
)
def test_an_interrupt_does_not_blame_whom_it_interrupted(below: Stack, interrupt: Stack, source: str) -> None:
    trace = trace_of(*wait(1100, Waking(1300, 1, 8, 7, (*below, *interrupt)), 1350))
    assert stacks(trace, "off-wake") == {("seven", *SLEEPS, "--", *reversed(interrupt), source): 200}


BOTTOM_HALF: Stack = ("__local_bh_enable_ip_[k]", "do_softirq_[k]", "handle_softirqs_[k]", "net_rx_action_[k]")


@pytest.mark.parametrize(
    "stack",
    [
        ("main", "touch", "asm_exc_page_fault_[k]", "handle_mm_fault_[k]", *WAKE),
        ("main", "send", "entry_SYSCALL_64_[k]", "tcp_sendmsg_[k]", *BOTTOM_HALF, "process_backlog_[k]", *WAKE),
    ],
)
def test_a_thread_wakes_in_exceptions_and_over_loopback(stack: Stack) -> None:
    trace = trace_of(*wait(1100, Waking(1300, 1, 8, 7, stack), 1350))
    assert stacks(trace, "off-wake") == {("seven", *SLEEPS, "--", *reversed(stack), "eight"): 200}


def test_a_packet_that_a_thread_happens_to_receive_is_the_devices() -> None:
    stack = ("main", "send", "entry_SYSCALL_64_[k]", *BOTTOM_HALF, "virtnet_poll_[k]", *WAKE)
    ((frames, value_ns),) = stacks(trace_of(*wait(1100, Waking(1300, 1, 8, 7, stack), 1350)), "off-wake").items()
    assert (frames[-1], value_ns) == ("[network device]", 200)
    assert "main" not in frames[frames.index("--") :]


def test_the_idle_task_wakes_in_its_own_name() -> None:
    stack = ("do_idle_[k]", "nohz_run_idle_balance_[k]", *WAKE)
    trace = trace_of(*wait(1100, Waking(1300, 1, IDLE, 7, stack), 1350))
    assert stacks(trace, "off-wake") == {("seven", *SLEEPS, "--", *reversed(stack), "swapper/1"): 200}


def test_a_thread_that_wakes_itself_by_a_timeout_says_timer() -> None:
    woken = Waking(1300, 1, 7, 7, (*SLEEPS, *TIMER))
    trace = trace_of(*wait(1100, woken, 1350))
    assert stacks(trace, "off-wake") == {("seven", *SLEEPS, "--", *reversed(TIMER), "[timer]"): 200}


def test_a_thread_migrates() -> None:
    trace = trace_of(
        Switch(1100, 0, 7, IDLE),
        Switch(1120, 1, 8, 7),
        Switch(1200, 1, 7, 8, S, stack=SLEEPS),
        Waking(1300, 1, 8, 7, WAKES),
        Switch(1310, 0, IDLE, 7),
    )
    assert parts(trace) == {"on_cpu": 870, "preempted": 20, "blocked": 100, "run_queue": 10}
    assert parts(trace, tid=8) == {"on_cpu": 920, "preempted": 80}


def test_lost_events_make_what_crosses_them_unknown_and_nothing_else() -> None:
    trace = trace_of(
        *wait(1100, Waking(1150, 1, 8, 7, WAKES), 1200),
        Switch(1300, 0, 7, IDLE, S, stack=SLEEPS),
        Waking(1400, 1, 8, 9, WAKES),
        Lost(1500, 1, 3),
        Waking(1600, 1, 8, 7, WAKES),
        Switch(1650, 0, IDLE, 7),
        *wait(1700, Waking(1750, 1, 8, 7, WAKES), 1800),
        threads=(SEVEN, EIGHT, Known(9, 9, "nine", "S")),
    )
    assert parts(trace) == {"on_cpu": 450, "blocked": 100, "run_queue": 100, "unknown": 350}
    assert parts(trace, tid=8) == {"unknown": 1000}
    assert parts(trace, tid=9) == {"unknown": 1000}


def test_a_gap_may_outlast_a_segment() -> None:
    trace = trace_of(
        Waking(1100, 1, 8, 9, WAKES),
        *wait(1250, Waking(1300, 0, IDLE, 7, TIMER), 1350),
        Lost(1700, 1, 3),
        *wait(1800, Waking(1850, 1, 8, 7, WAKES), 1900),
        threads=(SEVEN, EIGHT, Known(9, 9, "nine", "S")),
    )
    with recorded(trace, cuts=[(1200, 1200), (1600, 1600)]) as recording:
        (row,) = query.table(recording, "threads", Selection(tid=7)).rows
    assert (row["unknown_ns"], row["blocked_ns"], row["run_queue_ns"]) == (100, 50, 50)


def test_a_missing_switch_is_not_taken_for_running() -> None:
    trace = trace_of(
        Switch(1100, 0, 7, 9, S, stack=SLEEPS),
        Switch(1500, 0, 10, IDLE, S, stack=SLEEPS),
        Waking(1600, 0, IDLE, 9, TIMER),
        Switch(1700, 0, IDLE, 9),
        threads=(SEVEN, EIGHT, Known(9, 9, "nine"), Known(10, 10, "ten")),
    )
    assert parts(trace) == {"on_cpu": 100, "blocked": 900}
    nine, ten = parts(trace, tid=9), parts(trace, tid=10)
    assert nine["on_cpu"] == 300 and "blocked" not in nine
    assert ten == {"unknown": 500, "blocked": 500}


def test_waits_open_at_either_end_are_lower_bounds() -> None:
    trace = trace_of(
        Waking(1200, 1, 8, 9, WAKES),
        Switch(1250, 1, 8, 9),
        Switch(1600, 1, 9, 8, S, stack=SLEEPS),
        Switch(1700, 0, 7, IDLE, D, stack=SLEEPS),
        Waking(1900, 1, 8, 7, WAKES),
        threads=(SEVEN, EIGHT, Known(9, 9, "nine", "S", 1, ("do_poll_[k]", "schedule_[k]"))),
    )
    assert parts(trace) == {"on_cpu": 700, "blocked": 200, "run_queue": 100}
    assert parts(trace, tid=9) == {"on_cpu": 350, "blocked": 600, "run_queue": 50}
    assert stacks(trace, "off-wake") == {("seven", *SLEEPS, "--", *reversed(WAKES), "eight"): 200}
    assert stacks(trace, "off-wake", tid=9) == {
        ("nine", "do_poll_[k]", "schedule_[k]", "--", *reversed(WAKES), "eight"): 200,
        ("nine", *SLEEPS, "--", "[open]"): 400,
    }


def test_who_slept_throughout_is_hidden_until_asked_for() -> None:
    stack = ("ret_from_fork_[k]", "worker_thread_[k]", "schedule_[k]")
    trace = trace_of(threads=(SEVEN, Known(9, 9, "kworker/0:1", "I", 0, stack)))
    with recorded(trace) as recording:
        for view, frames in (("off-cpu", stack), ("off-wake", (*stack, "--", "[open]"))):
            shown, everything = query.profile(recording, view, Selection()), query.profile(recording, view, ALL)
            assert (weights_of(shown), shown.hidden_ns) == ({}, 1000)
            assert (weights_of(everything), everything.hidden_ns) == ({("kworker/0:1", *frames): 1000}, 0)
        assert len(query.table(recording, "threads", Selection()).rows) == 2


def test_what_was_not_seen_is_unknown() -> None:
    trace = trace_of(Switch(1300, 0, 7, 9), threads=(SEVEN, Known(9, 9, "nine", "R", 0), Known(10, 10, "ten", "R", 0)))
    assert parts(trace, tid=9) == {"unknown": 300, "on_cpu": 700}
    assert parts(trace, tid=10) == {"unknown": 1000}


def test_a_cpu_that_never_switches_runs_one_thread_at_most() -> None:
    trace = trace_of(threads=(SEVEN, Known(9, 9, "nine", "R", 0)))
    assert sum(int(row.get("on_cpu", 0)) for row in rows(trace)) <= 1000


def test_events_outside_the_recording_do_not_count() -> None:
    trace = trace_of(
        Waking(900, 1, 8, 9, WAKES),
        Switch(1100, 0, 7, 9),
        Switch(2100, 0, 9, 7, S, stack=SLEEPS),
        threads=(SEVEN, EIGHT, Known(9, 9, "nine", "R", 0)),
    )
    assert parts(trace) == {"on_cpu": 100, "preempted": 900}
    assert parts(trace, tid=9) == {"unknown": 100, "on_cpu": 900}


def test_a_name_from_before_the_recording_is_not_that_of_whoever_has_the_id_now() -> None:
    trace = trace_of(Comm(900, 0, 7, "before"))
    assert rows(trace)[0]["comm"] == "seven"


def test_the_recorder_is_in_no_table() -> None:
    trace = trace_of(Switch(1100, 0, 7, 50), Switch(1200, 0, 50, 7), threads=(SEVEN, Known(50, 50, "offwake", "R", 0)))
    trace.recorder_pid = 50
    assert [row["tid"] for row in rows(trace)] == [7]
    assert parts(trace) == {"on_cpu": 900, "preempted": 100}


def test_records_out_of_order_within_a_cpu() -> None:
    blocks, wakes, returns = wait(1100, Waking(1101, 0, IDLE, 7, TIMER), 1350)
    trace = trace_of(wakes, blocks, returns)
    assert parts(trace) == {"on_cpu": 750, "blocked": 1, "run_queue": 249}
