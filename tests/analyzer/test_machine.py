"""What happens to a machine while it is recorded is told, and makes no duration wrong."""

from typing import Any

import pytest

from offwake.analyzer import query
from tests.analyzer.recorded import ALL, recorded
from tests.analyzer.schedules import EIGHT, SEVEN, SLEEPS, WAKES, S, trace_of, wait
from tests.encoding import KIND_IDS, clocks
from tests.events import IDLE, Known, Switch, Trace, Waking

NOTHING_FOUND: dict[str, list[Any]] = {"cpu_changes": [], "clock_steps": [], "suspends": []}
SECOND = 1_000_000_000


def info_of(trace: Trace, cuts: list[tuple[int, ...]]) -> dict[str, Any]:
    with recorded(trace, cuts) as recording:
        return recording.info()


def row_of(trace: Trace, cuts: list[tuple[int, ...]], tid: int) -> dict[str, Any]:
    with recorded(trace, cuts) as recording:
        (row,) = (row for row in query.table(recording, "threads", ALL).rows if row["tid"] == tid)
        return dict(row)


def test_who_ran_on_a_cpu_that_went_offline_is_unknown_until_it_is_seen_again() -> None:
    trace = trace_of(Switch(1100, 1, 8, 9), Switch(1600, 0, 7, 8), Switch(1700, 0, 8, 7))
    assert row_of(trace, [(1400, 1400)], 9)["on_cpu_ns"] == 900  # nobody knows that its CPU is gone
    trace.ticks = {0: {"cpu_gaps": [[1, 1000, 1400, "offline"]]}}
    nine = row_of(trace, [(1400, 1400)], 9)
    assert (nine["on_cpu_ns"], nine["unknown_ns"]) == (0, 1000)
    eight = row_of(trace, [(1400, 1400)], 8)
    assert (eight["on_cpu_ns"], eight["unknown_ns"]) == (100 + 100, 500)
    (sentence,) = (words for words in info_of(trace, [(1400, 1400)])["verdict"] if "CPU 1 went offline" in words)
    assert "unknown" in sentence
    assert info_of(trace, [(1400, 1400)])["complete"] is False


def test_a_wait_across_a_gap_is_unknown_and_one_after_it_is_not() -> None:
    across = wait(1100, Waking(1500, 1, 8, 7, WAKES), 1550)
    after = wait(1600, Waking(1700, 1, 8, 7, WAKES), 1710)
    trace = trace_of(*across, *after)
    trace.ticks = {0: {"cpu_gaps": [[1, 1200, 1400, "away"]]}}
    row = row_of(trace, [(1400, 1400)], 7)
    assert (row["blocked_ns"], row["run_queue_ns"], row["unknown_ns"]) == (100, 10, 450)


def test_events_that_a_cpu_had_no_ring_for_make_a_gap_once() -> None:
    counters = {1: {KIND_IDS["sched_switch"]: [9, 4, 5, 5]}}
    trace = trace_of(*wait(1100, Waking(1300, 0, 8, 7, WAKES), 1350), *wait(1600, Waking(1700, 0, 8, 7, WAKES), 1710))
    trace.ticks = {0: {"counters": counters}, 1: {"counters": counters}}
    row = row_of(trace, [(1400, 1400)], 7)
    assert (row["blocked_ns"], row["run_queue_ns"], row["unknown_ns"]) == (100, 10, 250)


def test_who_first_runs_on_a_cpu_that_came_later_has_not_run_there_before() -> None:
    trace = trace_of(Switch(1500, 1, 9, IDLE, S, stack=SLEEPS), threads=(SEVEN, Known(9, 9, "nine", "R", 0)))
    trace.ticks = {0: {"cpu_gaps": [[1, 1000, 1400, "online"]]}}
    row = row_of(trace, [(1400, 1400)], 9)
    assert (row["on_cpu_ns"], row["unknown_ns"], row["blocked_ns"]) == (0, 500, 500)


@pytest.mark.parametrize(
    ("ahead", "found", "says"),
    [
        ({}, {}, ""),
        ({"realtime_ns": -9_000_000, "boottime_ns": -5_000_000}, {}, ""),
        (
            {"realtime_ns": -3 * SECOND},
            {"clock_steps": [{"at_ns": 1000, "step_ns": -3 * SECOND}]},
            "The wall clock was set back by 3.0 s at +0.0 s",
        ),
        (
            {"realtime_ns": 90 * SECOND},
            {"clock_steps": [{"at_ns": 1000, "step_ns": 90 * SECOND}]},
            "The wall clock was set forward by 90.0 s at +0.0 s",
        ),
        (
            {"realtime_ns": 5 * SECOND, "boottime_ns": 5 * SECOND},
            {"suspends": [{"at_ns": 1000, "suspended_ns": 5 * SECOND}]},
            "The machine was suspended for 5.0 s at +0.0 s",
        ),
    ],
)
def test_clocks_that_were_set_and_suspends_are_told(ahead: dict[str, int], found: dict[str, Any], says: str) -> None:
    trace = trace_of(*wait(1100, Waking(1300, 1, 8, 7, WAKES), 1350), threads=(SEVEN, EIGHT))
    untouched = row_of(trace, [], 7)
    trace.ticks = {0: {"clocks": {clock: ns + ahead.get(clock, 0) for clock, ns in clocks(2000).items()}}}
    info = info_of(trace, [])
    assert {key: info[key] for key in NOTHING_FOUND} == NOTHING_FOUND | found
    assert [words for words in info["verdict"] if words.startswith(says)] if says else not info["verdict"]
    assert row_of(trace, [], 7) == untouched
    assert info["complete"] is True
