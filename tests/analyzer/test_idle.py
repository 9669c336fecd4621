"""Idle waits: of every rule a schedule that it hides, and the nearest one that it must not hide.

Recordings last a second. Every thread has a CPU of its own and runs whenever it is not said to wait; times are
milliseconds.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from offwake.analyzer import query
from offwake.analyzer.explain import Decision, explain
from offwake.analyzer.idle import IdleRules, Rule, default_text, stack_text
from offwake.analyzer.recording import Recording
from offwake.analyzer.select import Selection
from offwake.errors import UsageError
from tests.analyzer.recorded import ALL, recorded, weights_of
from tests.events import IDLE, Event, Known, Stack, Switch, Trace, Waking

MS = 1_000_000
BEGAN = 1_000_000_000
S, D = 1, 2

SYSCALL: Stack = ("main", "entry_SYSCALL_64_after_hwframe_[k]", "do_syscall_64_[k]")
SLEEPS: Stack = (*SYSCALL, "do_nanosleep_[k]", "schedule_[k]")
QUEUE: Stack = (
    "worker",
    *SYSCALL,
    "do_futex_[k]",
    "futex_wait_[k]",
    "__futex_wait_[k]",
    "schedule_[k]",
    "__schedule_[k]",
)
MUTEX: Stack = (
    "worker",
    "__lll_lock_wait",
    *SYSCALL,
    "do_futex_[k]",
    "futex_wait_[k]",
    "__futex_wait_[k]",
    "schedule_[k]",
)
EPOLL: Stack = (*SYSCALL, "do_epoll_wait_[k]", "ep_poll_[k]", "schedule_hrtimeout_range_[k]", "schedule_[k]")
ACCEPT: Stack = (*SYSCALL, "inet_accept_[k]", "inet_csk_accept_[k]", "schedule_timeout_[k]", "schedule_[k]")
RECEIVES: Stack = (*SYSCALL, "tcp_recvmsg_[k]", "sk_wait_data_[k]", "schedule_[k]")
READS: Stack = (*SYSCALL, "vfs_read_[k]", "folio_wait_bit_[k]", "io_schedule_[k]", "schedule_[k]")
KTHREAD: Stack = ("ret_from_fork_asm_[k]", "ret_from_fork_[k]", "kthread_[k]")
WORKER: Stack = (*KTHREAD, "worker_thread_[k]", "schedule_[k]", "__schedule_[k]")
AT_WORK: Stack = (*KTHREAD, "worker_thread_[k]", "process_one_work_[k]", "wb_workfn_[k]", "schedule_[k]")

WAKES: Stack = ("main", "entry_SYSCALL_64_after_hwframe_[k]", "try_to_wake_up_[k]")
TIMER: Stack = (
    "asm_sysvec_apic_timer_interrupt_[k]",
    "hrtimer_interrupt_[k]",
    "hrtimer_wakeup_[k]",
    "try_to_wake_up_[k]",
)
DISK: Stack = ("asm_common_interrupt_[k]", "virtblk_done_[k]", "blk_mq_end_request_[k]", "try_to_wake_up_[k]")

Wait = tuple[float, float, Stack, int | Stack]
"""Since when, until when, where, and who ended it: a thread, or an interrupt that found the CPU idle."""


class Schedule:
    """Threads, their waits and what they become."""

    def __init__(self) -> None:
        self.threads: list[Known] = []
        self.listeners: list[int] = []
        self._waits: list[tuple[int, Wait, int]] = []

    def thread(self, tid: int, comm: str, *waits: Wait, tgid: int = 0, state: int = S) -> "Schedule":
        """Add a thread, of a process of its own unless `tgid` is given."""
        self.threads.append(Known(tid, tgid or tid, comm, "R", len(self.threads)))
        self._waits += [(tid, wait, state) for wait in waits]
        return self

    def sleeper(self, tid: int, comm: str, stack: Stack) -> "Schedule":
        """Add a thread that does nothing."""
        self.threads.append(Known(tid, tid, comm, "S", 0, stack))
        return self

    def serves(self, *pids: int) -> "Schedule":
        """Say which processes listen."""
        self.listeners += pids
        return self

    def record(self) -> Recording:
        """Write the recording down, and open it."""
        trace = Trace(
            cpus=max(len(self.threads), 1),
            began_ns=BEGAN,
            ended_ns=BEGAN + 1000 * MS,
            threads=self.threads,
            events=sorted(self._events(), key=lambda event: event.time_ns),
            listeners=self.listeners,
        )
        return recorded(trace)

    def _events(self) -> Iterator[Event]:
        cpus = {thread.tid: cpu for cpu, thread in enumerate(self.threads)}
        for tid, (begin, end, stack, waker), state in self._waits:
            cpu, begin_ns, end_ns = cpus[tid], BEGAN + int(begin * MS), BEGAN + int(end * MS)
            yield Switch(begin_ns, cpu, tid, IDLE, state, stack=stack)
            if isinstance(waker, int):
                yield Waking(end_ns, cpus[waker], waker, tid, WAKES)
            else:
                yield Waking(end_ns, cpu, IDLE, tid, waker)
            yield Switch(end_ns + 1000, cpu, IDLE, tid)


def every(period: float, length: float, stack: Stack, waker: int | Stack, begin: float = 5) -> list[Wait]:
    """Return waits of one length, one in each period."""
    starts = [begin + step * period for step in range(int((990 - begin) / period))]
    return [(start, start + length, stack, waker) for start in starts]


def hidden(schedule: Schedule, rules: IdleRules | None = None) -> set[str]:
    """Return the names of threads of which the off-wake picture leaves waits out; the rest and that must be everything."""
    selection = Selection(idle_rules=rules or IdleRules.default())
    with schedule.record() as recording:
        names = set()
        for view in ("off-wake", "off-cpu", "wakeup", "chain"):
            everything = query.profile(recording, view, ALL)
            shown = query.profile(recording, view, selection)
            assert shown.total_ns + shown.hidden_ns == everything.total_ns
            if view == "off-wake":
                missing = weights_of(everything) - weights_of(shown)
                assert missing.total() == shown.hidden_ns
                names = {frames[0] for frames in missing}
        return names


def decision(schedule: Schedule, comm: str) -> Decision:
    """Return what is said of the longest waits of threads of this name."""
    with schedule.record() as recording:
        return next(found for found in explain(recording, Selection()) if found.comm == comm)


# Asleep throughout


def test_a_thread_that_did_nothing_is_hidden() -> None:
    assert hidden(Schedule().sleeper(10, "idler", SYSCALL)) == {"idler"}


def test_a_thread_that_did_something_once_is_not_asleep_throughout() -> None:
    assert hidden(Schedule().thread(10, "reader", (1, 998, RECEIVES, DISK))) == set()


# Kernel threads


def test_a_kernel_thread_in_its_main_loop_is_hidden_and_one_at_work_is_not() -> None:
    waits = ((10, 500, WORKER, 2), (510, 700, AT_WORK, DISK))
    schedule = Schedule().thread(2, "shell").thread(10, "kworker/0:1", *waits)
    assert hidden(schedule) == {"kworker/0:1"}
    with schedule.record() as recording:
        shown = query.profile(recording, "off-cpu", Selection())
    assert {frames[-3:-1] for frames in weights_of(shown)} == {("process_one_work_[k]", "wb_workfn_[k]")}


def test_a_kernel_thread_that_must_not_be_disturbed_in_its_main_loop_is_not_idle() -> None:
    assert hidden(Schedule().thread(10, "kworker/0:1", (10, 500, WORKER, DISK), state=D)) == set()


# Periodic timers


def test_a_steady_timer_is_hidden() -> None:
    assert hidden(Schedule().thread(10, "ticker", *every(50, 45, SLEEPS, TIMER))) == {"ticker"}


def test_a_timer_of_uneven_pace_is_not_hidden() -> None:
    waits = sorted([*every(100, 20, SLEEPS, TIMER), *every(100, 65, SLEEPS, TIMER, begin=30)], key=lambda wait: wait[0])
    schedule = Schedule().thread(10, "ticker", *waits)
    assert hidden(schedule) == set()
    assert [reason.key for reason in decision(schedule, "ticker").reasons if not reason.holds] == ["variation"]


def test_a_few_short_sleeps_of_a_busy_thread_are_not_hidden() -> None:
    assert hidden(Schedule().thread(10, "batch", *every(50, 10, SLEEPS, TIMER))) == set()


def test_a_steady_pace_that_a_disk_sets_is_not_hidden() -> None:
    assert hidden(Schedule().thread(10, "reader", *every(50, 45, READS, DISK))) == set()


def test_a_stage_that_sleeps_at_a_steady_pace_while_another_waits_for_it_is_not_hidden() -> None:
    schedule = Schedule().thread(10, "stage-c", *every(50, 45, SLEEPS, TIMER))
    schedule.thread(11, "stage-d", *every(50, 46, RECEIVES, 10))
    assert hidden(schedule) == set()
    found = decision(schedule, "stage-c")
    assert found.nearest and found.nearest.name == "periodic timer"
    assert [reason.key for reason in found.reasons if not reason.holds] == ["waited_for_share"]
    assert found.waited_for_ns == {"stage-d": found.blocked_ns}


def test_a_kernel_thread_that_waits_for_work_does_not_wait_for_a_ticker() -> None:
    schedule = Schedule().thread(10, "ticker", *every(50, 45, SLEEPS, TIMER))
    schedule.thread(11, "kworker/0:1", *every(50, 46, WORKER, 10))
    assert hidden(schedule) == {"ticker", "kworker/0:1"}


# Pools


def pool(stack: Stack, size: int = 3, *, length: float = 290) -> Schedule:
    """Return a dispatcher that gives each worker something to do every 300 ms."""
    schedule = Schedule().thread(10, "dispatcher", tgid=10)
    for worker in range(size):
        waits = every(300, length, stack, 10, begin=5 + worker)
        schedule.thread(11 + worker, f"worker-{worker}", *waits, tgid=10)
    return schedule


def test_workers_that_wait_for_a_job_are_hidden() -> None:
    assert hidden(pool(QUEUE)) == {"worker-0", "worker-1", "worker-2"}


def test_a_single_worker_is_no_pool() -> None:
    assert hidden(pool(QUEUE, size=1)) == set()
    found = decision(pool(QUEUE, size=1), "worker-0")
    assert [(reason.key, reason.found) for reason in found.reasons if not reason.holds] == [("alike", 1)]


def test_threads_that_wait_for_a_mutex_are_no_pool() -> None:
    assert hidden(pool(MUTEX)) == set()


def test_workers_that_have_much_to_do_are_no_pool() -> None:
    assert hidden(pool(QUEUE, length=150)) == set()


def test_a_worker_that_somebody_waits_for_makes_all_alike_visible() -> None:
    schedule = pool(QUEUE)
    schedule.thread(20, "client", (100, 297, RECEIVES, 11), (400, 597, RECEIVES, 11))
    assert hidden(schedule) == set()


def test_a_convoy_is_not_hidden() -> None:
    """Seven threads take turns with a lock, 20 ms each: one has it, the others wait, each for the one before it."""
    schedule = Schedule()
    for me in range(7):
        waits = [(20 * turn + 1, 20 * (turn + 6), QUEUE, 10 + (me - 1) % 7) for turn in range(me, 44, 7)]
        schedule.thread(10 + me, f"convoy-{me}", *waits, tgid=10)
    assert hidden(schedule) == set()
    failed = [reason.key for reason in decision(schedule, "convoy-1").reasons if not reason.holds]
    assert failed == ["waited_for_share"]


# Servers


def test_accepting_is_hidden() -> None:
    schedule = Schedule().thread(9, "client").thread(10, "server", (10, 400, ACCEPT, 9), (410, 800, ACCEPT, 9))
    assert hidden(schedule) == {"server"}


def test_accepting_is_not_hidden_while_somebody_waits_for_the_server() -> None:
    schedule = Schedule().thread(9, "client").thread(10, "server", (10, 400, ACCEPT, 9), (410, 800, ACCEPT, 9))
    schedule.thread(11, "patient", (100, 402, RECEIVES, 10))
    assert hidden(schedule) == set()


EVENT_LOOP = ((10, 400, EPOLL, 9), (410, 800, EPOLL, 9))


def test_an_event_loop_is_hidden_in_a_process_that_listens() -> None:
    schedule = Schedule().thread(9, "client").thread(10, "server", *EVENT_LOOP).serves(10)
    assert hidden(schedule) == {"server"}


def test_a_client_that_waits_for_its_server_in_an_event_loop_is_not_hidden() -> None:
    schedule = Schedule().thread(9, "server").thread(10, "client", *EVENT_LOOP).serves(9)
    assert hidden(schedule) == set()
    failed = [reason.key for reason in decision(schedule, "client").reasons if not reason.holds]
    assert failed == ["listens"]


def test_a_backend_that_waits_for_its_disk_is_not_hidden() -> None:
    schedule = Schedule().thread(9, "client").thread(10, "backend", *every(50, 45, READS, DISK), state=D).serves(10)
    assert hidden(schedule) == set()


def test_an_event_loop_that_waits_for_another_server_while_its_client_waits_is_not_hidden() -> None:
    schedule = Schedule().thread(9, "upstream").thread(10, "proxy", (10, 400, EPOLL, 9)).serves(9, 10)
    schedule.thread(11, "client", (8, 402, RECEIVES, 10))
    assert hidden(schedule) == set()


def test_a_pool_behind_an_event_loop_does_not_wait_for_it() -> None:
    schedule = Schedule().thread(9, "client").thread(10, "server", *every(300, 285, EPOLL, 9, begin=10)).serves(10)
    for worker in range(2):
        schedule.thread(11 + worker, "worker", *every(300, 294, QUEUE, 10, begin=5), tgid=10)
    assert hidden(schedule) == {"server", "worker"}


# The evidence


def test_more_waits_than_are_remembered_count_rather_too_much() -> None:
    """A ticker naps 200 times within one wait of another thread: its share must not look small."""
    schedule = Schedule().thread(10, "ticker", *every(4, 3, SLEEPS, TIMER))
    schedule.thread(11, "patient", (1, 981, RECEIVES, 10))
    assert decision(schedule, "ticker").waited_for_ns["patient"] >= 200 * 3 * MS
    assert hidden(schedule) == set()


def test_a_selection_of_time_changes_no_verdict_and_counts_its_own_waits() -> None:
    schedule = Schedule().thread(10, "ticker", *every(50, 45, SLEEPS, TIMER))
    with schedule.record() as recording:
        chosen = Selection(begin_ns=100 * MS, end_ns=150 * MS)
        (found,) = explain(recording, chosen)
        profile = query.profile(recording, "off-wake", chosen)
    assert found.rule and found.rule.name == "periodic timer"
    assert (found.blocked_ns, found.waits) == (profile.hidden_ns, 1)  # the one before had been woken by then
    assert profile.total_ns == 0


def test_the_recorders_own_waits_are_for_nobody() -> None:
    schedule = Schedule().thread(10, "ticker", *every(50, 45, SLEEPS, TIMER))
    schedule.thread(999_999, "offwake", *every(50, 46, RECEIVES, 10))
    assert hidden(schedule) == {"ticker"}


# Rules of one's own

MINE = """
[[rule]]
name = "the cron job"
why = "It is not what we look at."
comm = ["cron*"]
stack = ["**;do_nanosleep*"]
"""


def read(folder: Path, text: str) -> IdleRules:
    path = folder / "my.toml"
    path.write_text(text)
    return IdleRules.read(path)


def test_rules_of_ones_own_replace_the_default_ones(tmp_path: Path) -> None:
    schedule = Schedule().thread(10, "cron", (10, 20, SLEEPS, TIMER)).thread(11, "crond", (10, 20, READS, DISK))
    schedule.thread(12, "ticker", *every(50, 45, SLEEPS, TIMER))
    assert hidden(schedule, read(tmp_path, MINE)) == {"cron"}
    assert hidden(schedule, read(tmp_path, "")) == set()


def test_the_default_rules_can_be_copied(tmp_path: Path) -> None:
    assert read(tmp_path, default_text()) == IdleRules.default()


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("**;ep_poll;**", True),
        ("**;ep_poll_[k];**", True),
        ("**;main_[k];**", False),
        ("main;**", True),
        ("**;ep_*", True),
        ("ep_poll", False),
        ("**;do_epoll_wait", False),
        ("*;*;*;*;*", True),
        ("*;*;*;*", False),
        ("**;[k];**", False),
        ("**;schedule;**", False),
    ],
)
def test_patterns(pattern: str, fits: bool, tmp_path: Path) -> None:
    schedule = Schedule().thread(10, "loop", (10, 900, EPOLL, DISK))
    rules = read(tmp_path, f'[[rule]]\nname = "a"\nwhy = "b"\nstack = ["{pattern}"]\n')
    assert hidden(schedule, rules) == ({"loop"} if fits else set())


@pytest.mark.parametrize(
    ("pattern", "root", "leaf"),
    [
        ("**;*a*a*a*a*a*a*z", ("a" * 500,), "aaaaaaz"),
        ("**;a*;**;a*;**;a*;**;a*;**;a*;**;z", ("a",) * 500, "z"),
        ("*a*a*;**;*a*a*;**;*a*a*;**;*a*a*z", ("aaaa",) * 500, "aaz"),
    ],
)
def test_a_pattern_with_many_stars_takes_no_longer_for_a_stack_that_nearly_fits(
    pattern: str, root: tuple[str, ...], leaf: str
) -> None:
    rule = Rule("mine", "so", stack=(pattern,))
    assert not rule.fits_stack(stack_text(root))
    assert rule.fits_stack(stack_text((leaf, *root)))


RULE = '[[rule]]\nname = "mine"\nwhy = "so"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[rule]\n", ["not TOML", "line 1"]),
        ("[rules]\n", ["rules: no such key", "rule"]),
        ("rule = 3\n", ["[[rule]]"]),
        ("rule = [3]\n", ["rule 1", "[[rule]]"]),
        ('[[rule]]\nwhy = "so"\n', ["rule 1", "name"]),
        ('[[rule]]\nname = "mine"\nlistens = true\n', ["rule 1 (mine)", "why"]),
        (RULE, ["rule 1 (mine)", "no condition"]),
        (RULE + "stacks = []\n", ["stacks: no such key", "not_stack"]),
        (RULE + 'stack = "a"\n', ["stack", "a list"]),
        (RULE + "listens = 1\n", ["listens", "true or false"]),
        (RULE + "at_least = { naps = 1 }\n", ["at_least: naps: no such key", "timer_share"]),
        (RULE + "at_least = { waits = true }\n", ["waits", "a number"]),
        (RULE + "at_least = { waits = nan }\n", ["waits", "a number"]),
        (RULE + f"at_least = {{ waits = {10**400} }}\n", ["waits", "a number"]),
        (RULE + f"at_most = {{ timer_share = {10**400} }}\n", ["timer_share", "a number"]),
        (RULE + "at_least = { waits = " + "1" * 5000 + " }\n", ["not TOML"]),
        ("rule = " + "[" * 5000, ["not TOML"]),
        (RULE + "at_most = { timer_share = 95 }\n", ["timer_share", "0.95"]),
        ((RULE + "listens = true\n") * 2, ["two rules", "'mine'"]),
    ],
)
def test_a_bad_file_is_refused_with_what_is_wrong(text: str, says: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        read(tmp_path, text)
    for part in ["--idle-rules", "my.toml", *says]:
        assert part in str(refused.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("binary", "missing", "."):
        with pytest.raises(UsageError, match="--idle-rules"):
            IdleRules.read(tmp_path / name)


@pytest.mark.parametrize("pattern", ["do_epoll_wait", "hrtimer_wakeup|virtblk_done", "client", "no such frame"])
def test_of_stacks_that_match_as_much_is_hidden_as_is_not_shown(pattern: str) -> None:
    schedule = Schedule().thread(9, "client", (20, 30, READS, DISK)).thread(10, "server", *EVENT_LOOP).serves(10)
    schedule.thread(11, "ticker", *every(50, 40, SLEEPS, TIMER)).thread(12, "other", (100, 200, READS, DISK))
    with schedule.record() as recording:
        for view in ("off-wake", "off-cpu", "chain"):
            everything = query.profile(recording, view, Selection(grep=pattern, show_all=True))
            found = query.profile(recording, view, Selection(grep=pattern))
            assert found.hidden_ns == everything.total_ns - found.total_ns
        everywhere = query.heatmap(recording, "off-cpu", Selection(grep=pattern, show_all=True))
        counted = query.heatmap(recording, "off-cpu", Selection(grep=pattern))
        assert (counted.hidden_ns == 0) == (counted.total == everywhere.total)
