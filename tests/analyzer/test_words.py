"""Chains in words, and the longest waits with their reasons."""

import pytest

from offwake.analyzer.profile import Profile
from offwake.analyzer.words import in_words, longest_waits, waited_in

BLOCKED = ("web", "main", "do_syscall_64_[k]", "__x64_sys_read_[k]", "vfs_read_[k]", "schedule_[k]", "__schedule_[k]")
COME = "something that had not come by the end"
WAKING = ("try_to_wake_up_[k]", "main")


@pytest.mark.parametrize(
    ("hops", "words", "end", "took"),
    [
        (("--", *WAKING, "db", "[on CPU]"), "db, running", "running", ""),
        (("--", *WAKING, "db", "[run queue]"), "db, waiting for a CPU", "waiting for a CPU", ""),
        (("--", *WAKING, "db", "[preempted]"), "db, preempted", "preempted", ""),
        (("--", *WAKING, "db", "[unknown]"), "db, in an unknown state", "in an unknown state", ""),
        (("--", *WAKING, "db", "--", "[open]"), "db, waiting for something that had not come by the end", COME, ""),
        (("--", *WAKING, "db", "--", *WAKING, "[timer]"), "db, waiting for the timer", "the timer", ""),
        (
            ("--", *WAKING, "db", "--", *WAKING, "[vda read 4 KiB, 8 ms]"),
            "db, waiting for vda read 4 KiB",
            "vda read 4 KiB",
            "8 ms",
        ),
        (("--", *WAKING, "[vda flush, 250 µs]"), "vda flush", "vda flush", "250 µs"),
        (
            ("--", *WAKING, "[TCP from 10.0.0.9 to :5432]"),
            "TCP from 10.0.0.9 to :5432",
            "TCP from 10.0.0.9 to :5432",
            "",
        ),
        (
            ("--", "a", "--", "b", "--", "c", "--", "d", "[on CPU]"),
            "a, waiting for b, waiting for c, waiting for d, running",
            "running",
            "",
        ),
        (
            ("--", "a", "--", "b", "--", "c", "--", "d", "--", "e", "--", "f", "[truncated]"),
            "a, waiting for b, waiting for c, waiting for 2 more, waiting for f, and so on",
            "and so on",
            "",
        ),
    ],
)
def test_a_chain_in_words(hops: tuple[str, ...], words: str, end: str, took: str) -> None:
    assert in_words((*BLOCKED, *hops)) == (words, end, took)


def test_a_chain_of_which_all_frames_are_hidden_has_words_too() -> None:
    assert in_words((*BLOCKED, "--")) == ("what is hidden", "what is hidden", "")
    assert in_words((*BLOCKED, "--", "--", "[timer]")) == ("the timer", "the timer", "")


def test_a_wait_is_named_by_its_function_and_its_system_call() -> None:
    assert waited_in((*BLOCKED, "--", "[open]")) == "vfs_read in read"
    assert waited_in(("kworker", "kthread_[k]", "worker_thread_[k]", "schedule_[k]", "--", "[open]")) == "worker_thread"
    assert waited_in(("web", "[no stack]", "--", "[open]")) == "[no stack]"
    tail_call = (
        "sh",
        "wait",
        "do_syscall_64_[k]",
        "kernel_wait4_[k]",
        "do_wait_[k]",
        "io_schedule_[k]",
        "schedule_[k]",
    )
    assert waited_in((*tail_call, "--", "[open]")) == "do_wait in wait4"
    assert waited_in(("sh", "kernel_main", "pause_[k]", "--", "[open]")) == "pause"


def test_the_longest_waits_have_the_reasons_of_their_chains() -> None:
    off_wake, chains = Profile("off-wake"), Profile("chain")
    off_wake.add((*BLOCKED, "--", *WAKING, "db"), 900, 9)
    off_wake.add(("db", "fsync_[k]", "--", "[vda flush, 2 ms]"), 1000, 4)
    off_wake.add(("cron", "nanosleep_[k]", "--", "[timer]"), 10, 1)
    chains.add((*BLOCKED, "--", *WAKING, "db", "[on CPU]"), 200)
    chains.add((*BLOCKED, "--", *WAKING, "db", "--", "[vda flush, 2 ms]"), 400)
    chains.add((*BLOCKED, "--", *WAKING, "db", "--", "[vda flush, 4 ms]"), 300)
    chains.add(("db", "fsync_[k]", "--", "[vda flush, 2 ms]"), 1000)
    first, second = longest_waits(off_wake, chains, 2)
    assert (first.target, first.waited_in, first.value_ns, first.count) == ("db", "fsync", 1000, 4)
    assert (second.target, second.value_ns, second.count) == ("web", 900, 9)
    reasons = [(reason.words, reason.value_ns, reason.usually) for reason in second.reasons]
    assert reasons == [("db, waiting for vda flush", 700, "2 ms"), ("db, running", 200, "")]
    assert second.ends == [("vda flush", 700), ("running", 200)]
