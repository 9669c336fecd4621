"""What the analyzer finds in a simulated recording is what happened in it, to the nanosecond."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from offwake.analyzer import query
from offwake.analyzer.idle import IdleRules, Rule
from offwake.analyzer.profile import Profile
from offwake.analyzer.query import ViewOptions
from offwake.analyzer.recording import Recording
from offwake.analyzer.select import Selection
from tests.analyzer.recorded import ALL, recorded, weights_of
from tests.analyzer.workloads import workloads
from tests.chains import chain_path, chain_time
from tests.events import Stack, Trace
from tests.mishaps import disordered, with_losses
from tests.profiles import off_cpu, off_cpu_split, off_wake, run_queue, wakeup, wall
from tests.programs import Workload
from tests.simulator import Simulator
from tests.traces import Cut
from tests.truth import PARTS, Moments, ThreadTruth, truth_of, weights

COLUMNS = ("tid", "pid", "comm", *(f"{part}_ns" for part in PARTS), "switches", "wakeups")
SEEDS = st.integers(0, 2**32)
ASLEEP_THROUGHOUT = IdleRules((Rule("asleep throughout", "It did nothing at all.", at_least=(("lifetime_share", 1),)),))


class View(NamedTuple):
    """How to ask for a view, and the truth of it."""

    name: str
    options: ViewOptions
    truth: Callable[[list[ThreadTruth]], Iterator[Moments]]

    def found(self, recording: Recording, selection: Selection = ALL) -> Profile:
        """Ask the analyzer."""
        return query.profile(recording, self.name, selection, self.options)


VIEWS = (
    View("off-cpu", ViewOptions(), off_cpu),
    View("off-cpu", ViewOptions(split=True), off_cpu_split),
    View("off-wake", ViewOptions(), off_wake),
    View("wakeup", ViewOptions(), wakeup),
    View("run-queue", ViewOptions(), run_queue),
    View("chain", ViewOptions(), chain_time),
    View("chain", ViewOptions(chain="path"), chain_path),
    View("wall", ViewOptions(), wall),
)


def cuts_of(trace: Trace, random: Random) -> list[Cut]:
    """Choose where segments end: each CPU's ring at a moment of its own, near the others' or far from them.

    Each ring is read once before any is read again.
    """
    moments = sorted(random.choices(range(trace.began_ns, trace.ended_ns + 1), k=random.randrange(6)))
    skew = random.choice((0, 3, 100))
    rounds = zip(moments, [*moments[1:], trace.ended_ns], strict=False)
    return [
        [random.randint(begin, min(begin + skew, following)) for _ in range(trace.cpus)] for begin, following in rounds
    ]


def rows_of(recording: Recording) -> list[tuple[object, ...]]:
    rows = query.table(recording, "threads", ALL).rows
    return sorted(tuple(row[column] for column in COLUMNS) for row in rows)


def true_rows(threads: list[ThreadTruth]) -> list[tuple[object, ...]]:
    rows = [{"comm": thread.comm, **thread.row()} for thread in threads]
    return sorted(tuple(row[column] for column in COLUMNS) for row in rows)


def comparable(view: View, profile: Profile) -> Counter[Stack]:
    """Return a profile's weights; without the sampled frames, and the names of unknown time, of which nobody is sure."""
    total: Counter[Stack] = Counter()
    for frames, value_ns in weights_of(profile).items():
        if view.name == "wall" and frames[-1] == "[on CPU]":
            frames = (frames[0], "[on CPU]")
        elif view.name == "wall" and frames[-1] == "[unknown]":
            frames = ("[unknown]",)
        total[frames] += value_ns
    return total


def must_be_true(recording: Recording, threads: list[ThreadTruth]) -> None:
    assert rows_of(recording) == true_rows(threads)
    for view in VIEWS:
        assert comparable(view, view.found(recording)) == weights(view.truth(threads)), view


@given(workloads(), SEEDS, st.booleans())
def test_whole_recordings(workload: Workload, seed: int, user_stacks: bool) -> None:
    simulator = Simulator(workload)
    trace = replace(disordered(simulator.trace, Random(seed)), user_stacks=user_stacks)
    with recorded(trace) as recording:
        must_be_true(recording, truth_of(simulator, simulator.trace))


@given(workloads(), SEEDS, st.booleans())
def test_recordings_in_segments(workload: Workload, seed: int, user_stacks: bool) -> None:
    simulator, random = Simulator(workload), Random(seed)
    trace = replace(disordered(simulator.trace, random), user_stacks=user_stacks)
    with recorded(trace, cuts_of(trace, random)) as recording:
        must_be_true(recording, truth_of(simulator, simulator.trace))


@given(workloads(), SEEDS)
def test_lost_events_become_unknown_time(workload: Workload, seed: int) -> None:
    simulator, random = Simulator(workload), Random(seed)
    trace, lost = with_losses(replace(simulator.trace, user_stacks=random.random() < 0.5), random, gaps=3)
    with recorded(trace, cuts_of(trace, random)) as recording:
        must_be_true(recording, truth_of(simulator, trace, lost))


@given(workloads())
def test_on_cpu_adds_up_to_the_time_that_threads_ran(workload: Workload) -> None:
    simulator = Simulator(workload)
    threads = truth_of(simulator, simulator.trace)
    with recorded(simulator.trace) as recording:
        ran_ns = sum(thread.row()["on_cpu_ns"] for thread in threads)
        assert query.profile(recording, "on-cpu", ALL).total_ns == ran_ns


@given(workloads())
def test_what_is_hidden_is_the_rest(workload: Workload) -> None:
    simulator = Simulator(workload)
    threads = truth_of(simulator, simulator.trace)
    with recorded(simulator.trace) as recording:
        for view in VIEWS:
            profile, everything = view.found(recording, Selection()), weights(view.truth(threads))
            assert comparable(view, profile) <= everything, view
            assert profile.hidden_ns == (everything - comparable(view, profile)).total(), view


@given(workloads())
def test_threads_that_slept_throughout_are_hidden(workload: Workload) -> None:
    simulator = Simulator(workload)
    threads = truth_of(simulator, simulator.trace)
    awake = [thread for thread in threads if thread.row()["blocked_ns"] < thread.lived_ns]
    with recorded(simulator.trace) as recording:
        profile = query.profile(recording, "off-cpu", Selection(idle_rules=ASLEEP_THROUGHOUT))
        assert weights_of(profile) == weights(off_cpu(awake))


@st.composite
def windows(draw: st.DrawFn, trace: Trace) -> list[tuple[int, int]]:
    """Draw where to cut a recording's time into windows, as nanoseconds since its beginning, in any order."""
    length_ns = trace.ended_ns - trace.began_ns
    edges = [0, *sorted(draw(st.lists(st.integers(0, length_ns), max_size=4))), length_ns]
    return draw(st.permutations(list(zip(edges, edges[1:], strict=False))))


@given(workloads(), st.data())
def test_windows_show_what_happened_in_them(workload: Workload, data: st.DataObject) -> None:
    simulator = Simulator(workload)
    trace, threads = simulator.trace, truth_of(simulator, simulator.trace)
    begin_ns, end_ns = data.draw(windows(trace))[0]
    with recorded(trace) as recording:
        for view in VIEWS:
            profile = view.found(recording, Selection(begin_ns=begin_ns, end_ns=end_ns, show_all=True))
            truth = weights(view.truth(threads), trace.began_ns + begin_ns, trace.began_ns + end_ns)
            assert comparable(view, profile) == truth, view


@given(workloads(), st.data())
def test_windows_add_up_in_any_order(workload: Workload, data: st.DataObject) -> None:
    trace = Simulator(workload).trace
    selections = [
        Selection(begin_ns=begin_ns, end_ns=end_ns, show_all=True) for begin_ns, end_ns in data.draw(windows(trace))
    ]
    with recorded(trace) as recording:
        for view in VIEWS:
            parts = Profile.merged(view.name, (view.found(recording, selection) for selection in selections))
            assert comparable(view, parts) == comparable(view, view.found(recording)), view
        on_cpu = (query.profile(recording, "on-cpu", selection) for selection in selections)
        whole = query.profile(recording, "on-cpu", ALL)
        assert Profile.merged("on-cpu", on_cpu).total_ns == whole.total_ns  # by cuts a slice is shared otherwise
        times: Counter[tuple[int, str]] = Counter()
        for selection in selections:
            for row in query.table(recording, "threads", selection).rows:
                times.update({(row["tid"], part): row[f"{part}_ns"] for part in PARTS})
        for row in query.table(recording, "threads", ALL).rows:
            times.subtract({(row["tid"], part): row[f"{part}_ns"] for part in PARTS})
        assert not any(times.values())


@given(workloads())
def test_wall_adds_up_to_each_threads_time(workload: Workload) -> None:
    with recorded(Simulator(workload).trace) as recording:
        rows = query.table(recording, "threads", ALL).rows
        for tid in {row["tid"] for row in rows}:
            lived_ns = sum(row[f"{part}_ns"] for row in rows if row["tid"] == tid for part in PARTS)
            assert query.profile(recording, "wall", Selection(tid=tid, show_all=True)).total_ns == lived_ns
