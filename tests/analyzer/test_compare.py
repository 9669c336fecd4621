"""Comparisons: what is the same is found to be so, what changed is found, and everything adds up."""

import os
from dataclasses import replace

import numpy as np
import pytest

from offwake.analyzer.changes import changes
from offwake.analyzer.compare import EFFECT, WHOLE, Comparison, Side, compared
from offwake.analyzer.idle import IdleRules
from offwake.analyzer.profile import Profile
from offwake.analyzer.slices import OverTime
from offwake.analyzer.verdicts import agreed
from tests.analyzer.recorded import recorded
from tests.analyzer.test_slices import WORKLOAD
from tests.loads import LOADS, Load, path, side
from tests.simulator import Simulator

PAIRS = int(os.environ.get("OFFWAKE_PAIRS", "200"))
SECONDS = ((10.0, 10.0), (5.0, 20.0))
FOUND_IN = {"steady, few stacks": "second", "steady, many stacks": "second", "a few very long waits": "second"}
"""Loads in which a fifth is more than a recording of ten seconds varies by; others are compared by share."""


def pair(seed: int, load: Load, change: dict[int, float] | None = None) -> tuple[Side, Side]:
    random = np.random.default_rng([seed, load.stacks])
    before, after = SECONDS[seed % 2]
    return side(load, before, random), side(load, after, random, change)


def steady(**stacks: int) -> Side:
    """Return a side of a second in which stacks (`a_b`: a, then b) weigh so many microseconds in each slice."""
    profile = Profile("off-cpu")
    frames = [tuple(name.split("_")) for name in stacks]
    values = np.array([value * 1000 for value in stacks.values()], np.int64)
    for names, value_ns in zip(frames, values.tolist(), strict=True):
        profile.add(names, 128 * value_ns)
    which, number = np.indices((len(frames), 128), np.int32).reshape(2, -1)
    profile.over_time = OverTime(frames, which, number, np.repeat(values, 128))
    return Side(profile, 1.0)


def test_of_the_same_load_at_most_one_comparison_in_a_hundred_finds_a_difference() -> None:
    names, found = list(LOADS), 0
    for seed in range(PAIRS):
        one = compared(pair(seed, LOADS[names[seed % len(names)]]), ("second", "share")[seed // 2 % 2])
        assert one.tested > 10
        found += bool(one.total.stands_out.any() or one.own.stands_out.any())
    assert found <= PAIRS / 100


def test_a_fifth_more_is_found_in_at_least_ninety_five_of_a_hundred() -> None:
    names, found = list(LOADS), 0
    for seed in range(PAIRS):
        name = names[seed % len(names)]
        one = compared(pair(seed, LOADS[name], {0: 1.2}), FOUND_IN.get(name, "share"))
        leaf = one.union.leaf[one.union.stacks.index(path(0))]
        found += bool(one.own.stands_out[leaf] and one.total.stands_out[leaf] and one.own.delta_ns[leaf] > 0)
    assert found >= 0.95 * PAIRS


@pytest.mark.parametrize("normalize", ["second", "share", "none"])
def test_frames_add_up(normalize: str) -> None:
    before, after = pair(1, LOADS["steady, many stacks"])
    one = compared((before, after), normalize)
    for of_frames, own, by_stack in (
        (one.total.before_ns, one.own.before_ns, one.before_ns),
        (one.total.after_ns, one.own.after_ns, one.after_ns),
    ):
        assert of_frames[0] == own.sum() == by_stack.sum()
        for frame in range(0, len(of_frames), 17):
            path = one.union.path(frame)
            inside = [stack[: len(path)] == path for stack in one.union.stacks]
            assert of_frames[frame] == by_stack[inside].sum()
    whole = {"none": before.profile.total_ns, "second": before.profile.total_ns / 5, "share": WHOLE}[normalize]
    assert abs(one.total.before_ns[0] - whole) <= len(one.union.stacks)


def test_without_normalizing_twice_as_long_is_twice_as_much() -> None:
    load = LOADS["steady, few stacks"]
    random = np.random.default_rng(4)
    sides = side(load, 10, random), side(load, 20, random)
    assert compared(sides, "none").total.stands_out[0]
    assert not compared(sides, "second").total.stands_out.any()
    assert not compared(sides, "share").total.stands_out.any()


def test_what_is_new_and_what_is_gone_stay_in_the_union() -> None:
    one = compared((steady(a_b=100, a_c=50), steady(a_b=100, a_d=80)))
    assert one.union.stacks == [("a", "b"), ("a", "c"), ("a", "d")]
    assert one.before_ns.tolist() == [12_800_000, 6_400_000, 0]
    assert one.after_ns.tolist() == [12_800_000, 0, 10_240_000]
    assert one.own.stands_out[one.union.leaf].tolist() == [False, True, True]


def test_less_than_a_hundredth_of_all_is_not_worth_a_word() -> None:
    large = round(100 * EFFECT)
    one = compared((steady(a=10_000, b=10 * large), steady(a=10_000, b=10 * large + 90)))
    assert not one.own.stands_out.any()
    one = compared((steady(a=10_000, b=10 * large), steady(a=10_000, b=10 * large + 110)))
    assert one.own.stands_out.tolist() == [False, False, True]


def test_self_and_total_are_told_apart() -> None:
    one = compared((steady(a=100, a_b=100), steady(a=200, a_b=0, a_c=0)))
    frame = one.union.leaf[one.union.rows[("a",)]]
    assert not one.total.stands_out[frame] and one.own.stands_out[frame]


@pytest.mark.parametrize("by_id", ["", " (77)"])
def test_which_worker_of_the_kernel_it_was_says_nothing(by_id: str) -> None:
    before, after = steady(kworker=100), steady(kworker=100)
    for one, name in ((before, f"kworker/0:1-events{by_id}"), (after, f"kworker/u8:3{by_id.replace('7', '8')}")):
        one.profile.over_time = replace(one.profile.over_time, stacks=[(name,)])
        one.profile.weights = {(name,): one.profile.weights[("kworker",)]}
    assert compared((before, after)).union.stacks == [("kworker/*",)]


def test_ids_tell_threads_apart_within_one_recording_alone() -> None:
    sides = []
    for tid in (7, 8):
        one = steady(x=100)
        one.profile.over_time = replace(one.profile.over_time, stacks=[(f"nginx ({tid})",)])
        one.profile.weights = {(f"nginx ({tid})",): one.profile.weights[("x",)]}
        sides.append(one)
    assert compared((sides[0], sides[1])).union.stacks == [("nginx",)]
    assert len(compared((sides[0], sides[1]), same=True).union.stacks) == 2


def off_wake(*weights: tuple[int, tuple[str, ...]]) -> Side:
    made = steady(**{f"s{number}": value for number, (value, _) in enumerate(weights)})
    names: dict[tuple[str, ...], tuple[str, ...]] = {
        (f"s{number}",): frames for number, (_, frames) in enumerate(weights)
    }
    made.profile.view = "off-wake"
    made.profile.weights = {names[stack]: weight for stack, weight in made.profile.weights.items()}
    made.profile.over_time = replace(made.profile.over_time, stacks=list(names.values()))
    return made


def test_changes_are_told_in_words() -> None:
    wait: tuple[str, ...] = (
        "postgres",
        "main",
        "XLogWrite",
        "postgres+0x1e84f0",
        "fdatasync",
        "__x64_sys_fdatasync_[k]",
    )
    wait = (*wait, "blkdev_issue_flush_[k]", "schedule_[k]", "--", "irq_[k]")
    client = (
        "postgres",
        "main",
        "secure_read",
        "epoll_wait",
        "__x64_sys_epoll_wait_[k]",
        "ep_poll_[k]",
        "--",
        "pgbench",
    )
    before = off_wake((100, (*wait, "[vda flush, 62 µs]")), (4_000, client))
    after = off_wake((200, (*wait, "[vda flush, 62 µs]")), (3_000, (*wait, "[vda flush, 125 µs]")), (3_700, client))
    first, second = changes(compared((before, after)))
    assert first.words == (
        "postgres waited 397 ms/s more in blkdev_issue_flush in fdatasync under XLogWrite, woken by vda flush"
    )
    assert (first.before_ns, first.after_ns) == (12_800_000, 409_600_000)
    assert second.words == "postgres waited 38.4 ms/s less in ep_poll in epoll_wait under secure_read, woken by pgbench"
    assert first.stands_out and second.stands_out


def test_what_follows_from_another_change_comes_after_it() -> None:
    """pgbench waits more, and longer; but for postgres, which waits more itself."""
    client, backend, lock = (
        ("pgbench", "poll_[k]", "--", "postgres"),
        ("postgres", "flush_[k]", "--", "[timer]"),
        ("sh", "x_[k]"),
    )
    before = off_wake((3_000, client), (1_000, backend), (900, (*lock, "--", "sh")))
    after = off_wake((7_000, client), (4_000, backend), (1_100, (*lock, "--", "sh")))
    rows = changes(compared((before, after)))
    assert [row.words.split()[0] for row in rows] == ["postgres", "sh", "pgbench"]
    assert [row.follows for row in rows] == [False, False, True]


def test_no_recording_hides_what_the_other_one_shows() -> None:
    recording = recorded(Simulator(WORKLOAD).trace)
    shown = recording.idle(IdleRules.default())
    shown = replace(shown, rule=np.full(len(shown.rule), -1, np.int32))
    idle = replace(shown, rule=np.zeros(len(shown.rule), np.int32))
    assert [one.rule.tolist() for one in agreed((idle, idle))] == [idle.rule.tolist()] * 2
    assert [one.rule.tolist() for one in agreed((idle, shown))] == [shown.rule.tolist()] * 2
    assert len(shown.rule) > 1


def test_nothing_can_be_compared_with_nothing() -> None:
    nothing = Side(Profile("off-cpu"), 1.0)
    one = Comparison((nothing, nothing), "second", same=False)
    assert one.total.before_ns.tolist() == [0] and not one.total.stands_out.any() and changes(one) == []
    assert compared((nothing, steady(a=100))).own.stands_out.any()
