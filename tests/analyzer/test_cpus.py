"""Who ran while others waited for a CPU: the compiled loop against a plain one, and what a selection makes of it."""

from collections import Counter, defaultdict
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from offwake.analyzer import query
from offwake.analyzer.cpus import FORGOTTEN, NOBODY, OPEN, Cpus, runnable_ns
from offwake.analyzer.intervals import BLOCKED, INTERVAL, NEW, PREEMPTED, SLICE, UNKNOWN
from offwake.analyzer.query import ViewOptions
from offwake.analyzer.select import Selection
from offwake.analyzer.views import DEFAULTS
from tests.analyzer.recorded import ALL, recorded, weights_of
from tests.analyzer.schedules import EIGHT, SEVEN, SLEEPS, S, trace_of
from tests.events import IDLE, Event, Known, Lost, Sample, Stack, Switch, Waking
from tests.truth import PARTS

NINE = Known(9, 9, "nine")
OF_SEVEN = Selection(tid=7, show_all=True)


def slices_of(random: Random, cpus: int, count: int) -> NDArray[np.void]:
    """Return slices in the order of their ends, with idle time between some of them, some of no length."""
    rows, now_ns = np.zeros(count, SLICE), [0] * cpus
    for row in rows:
        row["cpu"] = cpu = random.randrange(cpus)
        row["begin_ns"] = begin_ns = now_ns[cpu] + random.choice((0, 0, 3, 20))
        row["end_ns"] = now_ns[cpu] = begin_ns + random.choice((0, 1, 5, 30))
        row["name"] = random.randrange(-1, 4)
    return rows[np.argsort(rows["end_ns"], kind="stable")]


def intervals_of(random: Random, cpus: int, count: int, ended_ns: int) -> NDArray[np.void]:
    rows = np.zeros(count, INTERVAL)
    for row in rows:
        moments = sorted(random.choices(range(ended_ns), k=3))
        row["kind"] = random.choice((BLOCKED, PREEMPTED, NEW, UNKNOWN))
        row["begin_ns"], row["wake_ns"], row["end_ns"] = moments
        if row["kind"] in (PREEMPTED, UNKNOWN):
            row["wake_ns"] = row["end_ns"]
        row["cpu"] = random.randrange(-1, cpus)
    return rows


def plain(slices: NDArray[np.void], intervals: NDArray[np.void]) -> list[Counter[int]]:
    """Return who ran while each interval waited, looked at nanosecond by nanosecond."""
    who: dict[int, dict[int, int]] = defaultdict(dict)
    for one in slices:
        who[int(one["cpu"])].update(dict.fromkeys(range(one["begin_ns"], one["end_ns"]), int(one["name"])))
    found = []
    for one in intervals:
        since_ns, cpu = one["begin_ns"] if one["kind"] == PREEMPTED else one["wake_ns"], int(one["cpu"])
        moments = range(since_ns, one["end_ns"])
        found.append(Counter(OPEN if cpu < 0 else who[cpu].get(time_ns, NOBODY) for time_ns in moments))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_compiled_loop_is_the_plain_one(seed: int) -> None:
    random = Random(seed)
    slices = slices_of(random, 3, 200)
    intervals = intervals_of(random, 3, 100, int(slices["end_ns"].max()) + 50)
    cpus = Cpus(3, members_only=False)
    for part in np.array_split(slices, 3):
        cpus.feed(part)
    found: list[Counter[int]] = [Counter() for _ in intervals]
    for rows, names, value_ns in cpus.meanwhile(intervals):
        assert (value_ns > 0).all()
        for row, name, ns in zip(rows.tolist(), names.tolist(), value_ns.tolist(), strict=True):
            found[row][name] += ns
    expected = plain(slices, intervals)
    assert found == expected
    assert runnable_ns(intervals).tolist() == [counted.total() for counted in expected]
    assert cpus.queued_ns(intervals).tolist() == [counted.total() - counted[NOBODY] for counted in expected]


def test_one_of_a_hundred_cpus_remembers_its_last_65536_slices() -> None:
    count = 200_000
    slices = np.zeros(count, SLICE)
    slices["begin_ns"] = 10 * np.arange(count)
    slices["end_ns"], slices["name"] = slices["begin_ns"] + 7, np.arange(count) % 5
    waits = np.zeros(2, INTERVAL)
    waits["kind"], waits["end_ns"] = PREEMPTED, 10 * count
    waits["begin_ns"] = 5, 10 * (count - 65_536) + 2
    slices["cpu"] = waits["cpu"] = 42
    cpus = Cpus(100, members_only=False)
    cpus.feed(slices)
    total: Counter[tuple[int, int]] = Counter()
    for rows, names, value_ns in cpus.meanwhile(waits):
        for row, name, ns in zip(rows.tolist(), names.tolist(), value_ns.tolist(), strict=True):
            total[row, min(name, 0)] += ns
    assert total == {
        (0, FORGOTTEN): 10 * (count - 65_536) - 5,
        (0, 0): 7 * 65_536,
        (0, NOBODY): 3 * 65_536,
        (1, 0): 7 * 65_536 - 2,
        (1, NOBODY): 3 * 65_536,
    }
    assert cpus.queued_ns(waits).tolist() == [10 * (count - 65_536) - 5 + 7 * 65_536, 7 * 65_536 - 2]


QUEUES = (
    Switch(1100, 0, 7, IDLE, S, stack=SLEEPS),
    Waking(1250, 1, 8, 9),
    Waking(1300, 1, 8, 7),
    Switch(1310, 0, IDLE, 9),
    Switch(1400, 0, 9, 7, S),
)


def queue(
    events: tuple[Event, ...] = QUEUES, selection: Selection = OF_SEVEN, options: ViewOptions = DEFAULTS
) -> Counter[Stack]:
    """Return what the run-queue view shows, of thread 7 unless another selection is given."""
    with recorded(trace_of(*events, threads=(SEVEN, EIGHT, NINE))) as recording:
        return weights_of(query.profile(recording, "run-queue", selection, options))


def test_a_selection_cuts_waits_but_measures_them_whole() -> None:
    assert queue() == {("seven", "[run queue]", "nine"): 90, ("seven", "[wake-up]"): 10}
    late, early = Selection(tid=7, begin_ns=350, min_ns=100), Selection(tid=7, end_ns=320, max_ns=100)
    assert queue(selection=late) == {("seven", "[run queue]", "nine"): 50}
    assert queue(selection=early) == {("seven", "[run queue]", "nine"): 10, ("seven", "[wake-up]"): 10}
    assert queue(selection=replace(late, min_ns=101)) == queue(selection=replace(early, max_ns=99)) == {}


def test_who_waited_is_called_as_asked_and_who_ran_by_name() -> None:
    found = queue(options=ViewOptions(by="thread"))
    assert found == {("seven (7)", "[run queue]", "nine"): 90, ("seven (7)", "[wake-up]"): 10}


def test_the_recorder_keeps_others_waiting_but_is_not_shown_waiting() -> None:
    trace = trace_of(*QUEUES, Switch(1500, 0, 7, 9), threads=(SEVEN, EIGHT, NINE))
    trace.recorder_pid = 9
    with recorded(trace) as recording:
        found = weights_of(query.profile(recording, "run-queue", ALL))
    assert found == {
        ("seven", "[run queue]", "nine"): 90,
        ("seven", "[wake-up]"): 10,
        ("seven", "[preempted]", "[open]"): 500,
    }


def test_time_that_nobody_knows_of_keeps_nobody_waiting() -> None:
    unseen = (Switch(1100, 0, 7, 9), Switch(1200, 0, 8, 7))  # when nine left and eight came, the kernel did not show
    assert queue(unseen) == {("seven", "[preempted]", "[idle]"): 100}


def test_all_time_is_all_five_times_of_the_table() -> None:
    runs: Stack = ("main", "compute")
    trace = trace_of(
        Sample(1050, 0, 7, runs),
        *QUEUES,
        Switch(1500, 0, 7, 9),
        Switch(1520, 0, 9, 7),
        Lost(1700, 0, 3),
        Switch(1800, 0, 7, 9, S, stack=SLEEPS),
        threads=(SEVEN, EIGHT, NINE),
    )
    with recorded(trace) as recording:
        found = weights_of(query.profile(recording, "wall", OF_SEVEN))
        (row,) = query.table(recording, "threads", OF_SEVEN).rows
    assert found == {
        ("seven", *runs, "[on CPU]"): 100,
        ("seven", "[not sampled]", "[on CPU]"): 100,
        ("seven", *SLEEPS, "[blocked]"): 200 + 200,
        ("seven", *SLEEPS, "[run queue]"): 90,
        ("seven", *SLEEPS, "[wake-up]"): 10,
        ("seven", "[preempted]"): 20,
        ("seven", "[unknown]"): 280,
    }
    assert [row[f"{part}_ns"] for part in PARTS] == [200, 400, 100, 20, 280]
