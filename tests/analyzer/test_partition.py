"""What the analyzer finds in a simulated recording is what happened in it, to the nanosecond."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from offwake.analyzer import query
from offwake.analyzer.profile import Profile
from offwake.analyzer.recording import Recording
from offwake.analyzer.select import Selection
from tests.analyzer.recorded import ALL, recorded, weights_of
from tests.analyzer.workloads import workloads
from tests.events import Trace
from tests.mishaps import disordered, with_losses
from tests.programs import Workload
from tests.simulator import Simulator
from tests.traces import Cut
from tests.truth import PARTS, ThreadTruth, off_cpu, off_wake, truth_of

COLUMNS = ("tid", "pid", "comm", *(f"{part}_ns" for part in PARTS), "switches", "wakeups")
SEEDS = st.integers(0, 2**32)


def cuts_of(trace: Trace, random: Random) -> list[Cut]:
    """Choose where segments end: at moments of which each CPU has its own, near the others' or far from them."""
    moments = sorted(random.choices(range(trace.began_ns, trace.ended_ns + 1), k=random.randrange(6)))
    skew = random.choice((0, 3, 100))
    rings = [sorted(moment + random.randint(0, skew) for moment in moments) for _ in range(trace.cpus)]
    return list(zip(*rings, strict=True))


def rows_of(recording: Recording) -> list[tuple[object, ...]]:
    rows = query.table(recording, "threads", ALL).rows
    return sorted(tuple(row[column] for column in COLUMNS) for row in rows)


def true_rows(threads: list[ThreadTruth]) -> list[tuple[object, ...]]:
    rows = [{"comm": thread.comm, **thread.row()} for thread in threads]
    return sorted(tuple(row[column] for column in COLUMNS) for row in rows)


@given(workloads(), SEEDS)
def test_whole_recordings(workload: Workload, seed: int) -> None:
    simulator = Simulator(workload)
    threads = truth_of(simulator, simulator.trace)
    with recorded(disordered(simulator.trace, Random(seed))) as recording:
        assert rows_of(recording) == true_rows(threads)
        assert weights_of(query.profile(recording, "off-cpu", ALL)) == off_cpu(threads)
        assert weights_of(query.profile(recording, "off-wake", ALL)) == off_wake(threads)


@given(workloads(), SEEDS)
def test_recordings_in_segments(workload: Workload, seed: int) -> None:
    simulator, random = Simulator(workload), Random(seed)
    threads = truth_of(simulator, simulator.trace)
    with recorded(disordered(simulator.trace, random), cuts_of(simulator.trace, random)) as recording:
        assert rows_of(recording) == true_rows(threads)
        assert weights_of(query.profile(recording, "off-cpu", ALL)) == off_cpu(threads)
        assert weights_of(query.profile(recording, "off-wake", ALL)) == off_wake(threads)


@given(workloads(), SEEDS)
def test_lost_events_become_unknown_time(workload: Workload, seed: int) -> None:
    simulator, random = Simulator(workload), Random(seed)
    trace, lost = with_losses(simulator.trace, random, gaps=3)
    threads = truth_of(simulator, trace, lost)
    with recorded(trace, cuts_of(trace, random)) as recording:
        assert rows_of(recording) == true_rows(threads)
        assert weights_of(query.profile(recording, "off-cpu", ALL)) == off_cpu(threads)
        assert weights_of(query.profile(recording, "off-wake", ALL)) == off_wake(threads)


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
    shown = [thread for thread in threads if not thread.slept_throughout]
    with recorded(simulator.trace) as recording:
        profile = query.profile(recording, "off-cpu", Selection())
        assert weights_of(profile) == off_cpu(shown)
        assert profile.hidden_ns == (off_cpu(threads) - off_cpu(shown)).total()


@given(workloads(), st.data())
def test_parts_of_a_recording_add_up_in_any_order(workload: Workload, data: st.DataObject) -> None:
    trace = Simulator(workload).trace
    length_ns = trace.ended_ns - trace.began_ns
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, length_ns), max_size=4))), length_ns]
    windows = data.draw(st.permutations(list(zip(edges, edges[1:], strict=False))))
    selections = [Selection(begin_ns=begin, end_ns=end, show_all=True) for begin, end in windows]
    with recorded(trace) as recording:
        for view in ("off-cpu", "off-wake", "on-cpu"):
            parts = Profile.merged(view, (query.profile(recording, view, selection) for selection in selections))
            whole = query.profile(recording, view, ALL)
            assert parts.total_ns == whole.total_ns
            if view != "on-cpu":  # there, cutting a slice shares it among other samples
                assert weights_of(parts) == weights_of(whole)
        times: Counter[tuple[int, str]] = Counter()
        for selection in selections:
            for row in query.table(recording, "threads", selection).rows:
                times.update({(row["tid"], part): row[f"{part}_ns"] for part in PARTS})
        for row in query.table(recording, "threads", ALL).rows:
            times.subtract({(row["tid"], part): row[f"{part}_ns"] for part in PARTS})
        assert not any(times.values())
