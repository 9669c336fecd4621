"""The overview adds up to what tables say, and shows where events may be missing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offwake.analyzer import query
from offwake.analyzer.columns import Columns
from offwake.analyzer.recording import Recording
from offwake.analyzer.select import Selection
from offwake.cli import main
from tests.analyzer.recorded import recorded
from tests.analyzer.schedules import trace_of
from tests.events import Lost, Switch
from tests.programs import Block, Program, Run, Wake, Workload
from tests.simulator import Simulator
from tests.traces import write_trace

DEMO = Path(__file__).parents[2] / "examples" / "demo.offwake"
BOSS = Program("boss", (Run(120), Wake(0), Block(timeout_ns=200, listens=False)))
PROGRAMS = (Program("worker", (Block(), Run(40))), BOSS)
WORKLOAD = Workload(PROGRAMS, cpus=2, seed=3, warm_up_ns=500, length_ns=100_000)


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 999)), max_size=20), st.integers(1, 300))
def test_what_is_spread_over_columns_lies_where_it_was(pairs: list[tuple[int, int]], width_ns: int) -> None:
    columns = Columns(0, width_ns, -(-1000 // width_ns))
    intervals = [(min(pair), max(pair)) for pair in pairs]
    filled = np.zeros(columns.count * width_ns, np.int64)
    for begin_ns, end_ns in intervals:
        filled[begin_ns:end_ns] += 1
    begins, ends = np.array(intervals, np.int64).reshape(-1, 2).T
    assert columns.spread(begins, ends).tolist() == filled.reshape(columns.count, width_ns).sum(axis=1).tolist()


@pytest.mark.parametrize("path", [DEMO, None])
def test_the_overview_adds_up_to_the_tables(path: Path | None, tmp_path: Path) -> None:
    with Recording.open(path or write_trace(tmp_path / "x.offwake", Simulator(WORKLOAD).trace)) as recording:
        sums = {name: int(column.sum()) for name, column in query.overview(recording).sums.items()}
        rows = query.table(recording, "threads", Selection()).rows
        for part in ("on_cpu_ns", "run_queue_ns", "preempted_ns", "unknown_ns"):
            assert sums[part] == sum(row[part] for row in rows)
        assert sums["blocked_ns"] + sums["idle_ns"] == sum(row["blocked_ns"] for row in rows)
        assert sums["idle_ns"] == query.profile(recording, "off-wake", Selection()).hidden_ns
        assert 0 < sums["events"] <= recording.info()["events"]
        requests = query.table(recording, "block-io", Selection()).rows
        assert sums["io_requests"] >= len(requests) and sums["io_bytes"] >= sum(row["bytes"] for row in requests)


def test_events_around_the_recording_are_counted_and_have_no_place_in_it() -> None:
    early, within, late = [Switch(300, 0, 7, 8), Switch(600, 0, 8, 7)], Switch(1500, 0, 7, 8), Switch(2300, 0, 8, 7)
    with recorded(trace_of(*early, within, late)) as recording:
        assert recording.info()["events"] == 4
        found = query.overview(recording)
        assert dict(zip(found.columns.starts_ns.tolist(), found.sums["events"].tolist(), strict=True))[500] == 1
        assert found.sums["events"].sum() == 1


def test_the_table_has_the_rows_of_the_selected_time(capsys: pytest.CaptureFixture[str]) -> None:
    def rows(*options: str) -> list[dict[str, int]]:
        assert main(["table", str(DEMO), "--of", "overview", "--json", *options]) == 0
        found: list[dict[str, int]] = json.loads(capsys.readouterr().out)
        return found

    whole, part = rows(), rows("--from", "0.2", "--to", "0.4")
    assert part == [row for row in whole if 200_000_000 <= row["start_ns"] < 400_000_000] and len(part) == 40
    shop = rows("--comm", "shop-*")
    assert 0 < sum(row["on_cpu_ns"] for row in shop) < sum(row["on_cpu_ns"] for row in whole)


def test_where_events_may_be_missing_is_told(tmp_path: Path) -> None:
    trace = Simulator(WORKLOAD).trace
    on_cpu_0 = [event for event in trace.events if event.cpu == 0]
    before, after = on_cpu_0[len(on_cpu_0) // 2 : len(on_cpu_0) // 2 + 2]
    lost = Lost(after.time_ns, 0, count=3)
    place = trace.events.index(after)
    gapped = replace(trace, events=[*trace.events[:place], lost, *trace.events[place:]])
    with Recording.open(write_trace(tmp_path / "gap.offwake", gapped)) as recording:
        found = query.overview(recording)
        missing = np.flatnonzero(found.sums["lost_ns"])
        assert found.sums["lost_ns"].sum() == after.time_ns - before.time_ns
        moments = np.array([before.time_ns, after.time_ns]) - recording.began_ns
        first, last = found.columns.of(moments).tolist()
        assert missing.min() >= first and missing.max() <= last
        assert found.sums["unknown_ns"].sum() > 0
