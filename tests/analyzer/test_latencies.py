"""Latencies: heat maps, offset maps and histograms hold the waits of the views and the rows of the tables, each once."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offwake.analyzer import query
from offwake.analyzer.heatmap import latency_map, offset_map
from offwake.analyzer.histogram import Buckets, Histograms, bounds, histograms
from offwake.analyzer.latencies import KINDS, Label, Latencies, latencies
from offwake.analyzer.recording import Recording
from offwake.analyzer.scope import Scope
from offwake.analyzer.select import Selection
from offwake.errors import UsageError
from tests.analyzer.recorded import ALL, recorded
from tests.analyzer.workloads import workloads
from tests.programs import Workload
from tests.simulator import Simulator

EXAMPLE = Path(__file__).parents[2] / "examples" / "demo.offwake"
VIEW_OF = {"off-cpu": "off-cpu", "blocked": "off-wake"}
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def example() -> Iterator[Recording]:
    """Open the example."""
    with Recording.open(EXAMPLE) as recording:
        yield recording


def made(latency_ns: list[int], ended_ns: list[int] | None = None, **labels: list[str]) -> Latencies:
    """Make latencies of ten seconds by hand."""
    texts = {name: sorted(set(column)) for name, column in labels.items()}
    known = {
        name: Label(np.array([texts[name].index(text) for text in column]), texts[name].__getitem__)
        for name, column in labels.items()
    }
    ended = [0] * len(latency_ns) if ended_ns is None else ended_ns
    return Latencies("made", 0, 10 * SECOND, np.array(ended, np.int64), np.array(latency_ns, np.int64), known)


def count_of(recording: Recording, view: str, selection: Selection) -> int:
    return sum(weight.count for weight in query.profile(recording, view, selection).weights.values())


def bucket_sums(found: Histograms) -> Counter[int]:
    sums: Counter[int] = Counter()
    for one in found.found:
        sums.update({bucket: number for bucket, number in enumerate(one.counts) if number})
    return sums


@st.composite
def selections(draw: st.DrawFn, length_ns: int) -> Selection:
    """Draw a time, lengths and a name to select."""
    begin, end = sorted(draw(st.lists(st.integers(0, length_ns + 100), min_size=2, max_size=2, unique=True)))
    low, high = sorted(draw(st.lists(st.integers(0, 500), min_size=2, max_size=2)))
    chosen = Selection(
        comm=draw(st.none() | st.sampled_from(("*", "a*"))),
        states=draw(st.none() | st.sampled_from(("S", "DI", "R"))),
        min_ns=draw(st.none() | st.just(low)),
        max_ns=draw(st.none() | st.just(high)),
        show_all=draw(st.booleans()),
    )
    return replace(chosen, begin_ns=begin, end_ns=end, ended=True) if draw(st.booleans()) else chosen


@given(workloads(), st.data())
def test_every_picture_holds_the_selected_waits_of_the_view(workload: Workload, data: st.DataObject) -> None:
    trace = Simulator(workload).trace
    selection = data.draw(selections(trace.ended_ns - trace.began_ns))
    with recorded(trace) as recording:
        for of, view in VIEW_OF.items():
            profile = query.profile(recording, view, selection)
            map_ = query.heatmap(recording, of, selection)
            assert map_.total == count_of(recording, view, selection)
            assert map_.hidden_ns == profile.hidden_ns
            assert query.offsets(recording, of, selection, 1000).total == map_.total
            assert query.histogram(recording, of, selection).total == map_.total
            assert (np.diff(map_.rows) > 0).all() and map_.counts.shape == (len(map_.rows), len(map_.columns))


@given(workloads(), st.data())
def test_a_region_of_a_map_is_a_selection(workload: Workload, data: st.DataObject) -> None:
    with recorded(Simulator(workload).trace) as recording:
        for of, view in VIEW_OF.items():
            whole = query.heatmap(recording, of, ALL)
            if not whole.total:
                continue
            rows, columns = whole.counts.shape
            low, high = sorted(data.draw(st.lists(st.integers(0, rows), min_size=2, max_size=2, unique=True)))
            left, right = sorted(data.draw(st.lists(st.integers(0, columns), min_size=2, max_size=2, unique=True)))
            region = Selection(
                begin_ns=left * whole.column_ns,
                end_ns=right * whole.column_ns,
                min_ns=int(whole.rows[low]),
                max_ns=int([*whole.rows, whole.top_ns][high]) - 1,
                ended=True,
                show_all=True,
            )
            inside = int(whole.counts[low:high, left:right].sum())
            assert count_of(recording, view, region) == inside
            assert query.heatmap(recording, of, region).total == inside


@given(workloads(), st.integers(1, 5000))
def test_groups_and_intervals_part_the_latencies(workload: Workload, interval_ns: int) -> None:
    with recorded(Simulator(workload).trace) as recording:
        for of in ("off-cpu", "blocked", "run-queue"):
            whole = bucket_sums(query.histogram(recording, of, ALL, Buckets(unit="nsecs")))
            options = [Buckets((name,), None, "nsecs") for name in KINDS[of].fields]
            for one in (*options, Buckets(("comm", "state"), interval_ns, "nsecs")):
                parts = query.histogram(recording, of, ALL, one)
                assert bucket_sums(parts) == whole
                keys = [(part.start_ns, tuple(part.by.values())) for part in parts.found]
                assert len(set(keys)) == len(keys)
                assert all(part.start_ns in parts.starts_ns for part in parts.found)


@given(workloads())
def test_latencies_add_up_to_the_view(workload: Workload) -> None:
    with recorded(Simulator(workload).trace) as recording:
        for of, view in VIEW_OF.items():
            found = latencies(Scope(recording, ALL), of)
            assert int(found.latency_ns.sum()) == query.profile(recording, view, ALL).total_ns
        queued = latencies(Scope(recording, ALL), "run-queue").latency_ns
        assert (queued > 0).all()
        waited = sum(row["run_queue_ns"] + row["preempted_ns"] for row in query.table(recording, "threads", ALL).rows)
        assert int(queued.sum()) <= waited


@given(workloads())
def test_every_sample_of_what_ran_is_there_once(workload: Workload) -> None:
    with recorded(Simulator(workload).trace) as recording:
        weights = query.profile(recording, "on-cpu", ALL).weights.items()
        sampled = sum(weight.count for frames, weight in weights if frames[-1] != "[not sampled]")
        assert query.offsets(recording, "on-cpu", ALL, 1000).total == sampled
        by_cpu = query.histogram(recording, "on-cpu", ALL, Buckets(("cpu", "comm")))
        assert by_cpu.total == sampled


@given(
    st.lists(st.integers(0, 10**12) | st.integers(2**53, 2**63 - 1), max_size=50),
    st.sampled_from(("nsecs", "usecs", "msecs")),
)
def test_buckets_and_percentiles_against_a_slow_count(latency_ns: list[int], unit: str) -> None:
    answer = histograms(made(latency_ns), Buckets(unit=unit))
    assert answer.total == len(latency_ns)
    for one in answer.found:
        ranked = sorted(latency_ns)
        for (low, end), number in zip(bounds(len(one.counts)), one.counts, strict=True):
            assert number == sum(low <= ns // answer.unit_ns < end for ns in latency_ns)
        assert one.counts[-1]
        assert (one.min_ns, one.max_ns) == (ranked[0], ranked[-1])
        for percent, value in ((50, one.p50_ns), (99, one.p99_ns)):
            assert value is not None
            below = sum(ns < value for ns in latency_ns)
            upto = sum(ns <= value for ns in latency_ns)
            assert 100 * below < percent * len(ranked) <= 100 * upto


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10 * SECOND)), max_size=50))
def test_cells_against_a_slow_count(points: list[tuple[int, int]]) -> None:
    found = made([latency for latency, _ in points], [when for _, when in points])
    map_, offsets = latency_map(found), offset_map(found)
    edges = [*map_.rows.tolist(), map_.top_ns]
    cells = Counter(
        (sum(edge <= latency for edge in edges[1:]), min(when // map_.column_ns, len(map_.columns) - 1))
        for latency, when in points
    )
    assert {cell: map_.counts[cell] for cell in cells} == cells and map_.total == len(points)
    within = Counter((when % SECOND // 20_000_000, when // SECOND) for _, when in points)
    assert {cell: offsets.counts[cell] for cell in within} == within and offsets.total == len(points)


def test_what_took_no_time_has_its_own_row() -> None:
    map_ = latency_map(made([0, 0, 5_000]))
    assert map_.rows[0] == 0 and map_.counts[0].sum() == 2 and len(map_.rows) == 2
    assert map_.rows[1] <= 5_000 < map_.top_ns


def test_what_happens_every_tenth_of_a_second_lies_on_ten_heights() -> None:
    ended = [tenth * SECOND // 10 + 7_000_000 for tenth in range(100)]
    offsets = offset_map(made([1] * 100, ended))
    assert np.flatnonzero(offsets.counts.all(axis=1)).tolist() == list(range(0, 50, 5))
    by_tenth = offset_map(made([1] * 100, ended), SECOND // 10)
    assert np.flatnonzero(by_tenth.counts.all(axis=1)).tolist() == [3]


def test_the_unit_is_the_longest_of_which_the_median_has_ten() -> None:
    medians = {9_999: "nsecs", 10_000: "usecs", 9_999_999: "usecs", 10_000_000: "msecs"}
    for median_ns, unit in medians.items():
        assert histograms(made([1, median_ns, 10**10])).unit == unit


def test_groups_stand_in_order_with_numbers_by_their_value() -> None:
    found = made([1, 2, 3, 4], cpu=["10", "9", "9", "[open]"])
    groups = histograms(found, Buckets(("cpu",))).found
    assert [(one.by["cpu"], one.count) for one in groups] == [("9", 2), ("10", 1), ("[open]", 1)]


def test_requests_are_the_rows_of_the_table(example: Recording) -> None:
    rows = query.table(example, "block-io", ALL).rows
    for of, column in (("block-io", "service_ns"), ("block-io-queue", "queued_ns")):
        known = [row for row in rows if row[column] is not None]
        found = latencies(Scope(example, ALL), of)
        assert known and Counter(found.latency_ns.tolist()) == Counter(row[column] for row in known)
        groups = query.histogram(example, of, ALL, Buckets(("device", "operation", "comm"))).found
        expected = Counter((row["device"], row["operation"], row["comm"]) for row in known)
        assert {tuple(one.by.values()): one.count for one in groups} == expected


@pytest.mark.parametrize(
    "selection",
    [
        Selection(begin_ns=300_000_000, end_ns=600_000_000),
        Selection(min_ns=50_000, max_ns=1_000_000),
        Selection(comm="shop*"),
        Selection(tid=1),
    ],
)
def test_requests_are_selected_as_in_the_table(example: Recording, selection: Selection) -> None:
    rows = [row for row in query.table(example, "block-io", selection).rows if row["service_ns"] is not None]
    assert query.heatmap(example, "block-io", selection).total == len(rows)


@pytest.mark.parametrize(("of", "pattern"), [("off-cpu", "futex"), ("blocked", "futex"), ("on-cpu", "shop.*|PyEval")])
def test_a_frame_selects_in_maps_as_in_views(example: Recording, of: str, pattern: str) -> None:
    selection, view = Selection(grep=pattern, show_all=True), {"blocked": "off-cpu"}.get(of, of)
    total = query.heatmap(example, of, selection).total
    assert 0 < total < query.heatmap(example, of, ALL).total
    stacks = query.profile(example, view, selection).weights.items()
    assert total == sum(weight.count for frames, weight in stacks if frames[-1] not in ("[not sampled]", "[preempted]"))


def test_closed_sessions_last_as_the_table_says(example: Recording) -> None:
    rows = [row for row in query.table(example, "tcp-sessions", ALL).rows if row["state"] == "CLOSE"]
    found = latencies(Scope(example, ALL), "tcp-sessions")
    assert rows and sorted(found.latency_ns.tolist()) == sorted(row["duration_ns"] for row in rows)


def test_a_field_that_a_kind_has_not_is_refused_with_those_that_it_has(example: Recording) -> None:
    with pytest.raises(UsageError, match="--by device: off-cpu has no such field; there are comm, thread"):
        query.histogram(example, "off-cpu", ALL, Buckets(("comm", "device")))


def test_what_would_be_too_long_to_look_at_is_refused() -> None:
    with pytest.raises(UsageError, match="10,000 histograms"):
        histograms(made([1]), Buckets(interval_ns=999_999))
    with pytest.raises(UsageError, match="3,600 periods"):
        offset_map(made([1]), 1_000_000)
