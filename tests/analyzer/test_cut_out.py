"""A segment cut out of a recording reads alone: it opens with everything that is needed to read it."""

from pathlib import Path

from offwake.analyzer import query
from offwake.analyzer.recording import Recording
from offwake.analyzer.select import Selection
from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from tests.events import Trace
from tests.programs import Block, Program, Run, Workload
from tests.simulator import Simulator
from tests.traces import write_trace

EVERYTHING = Selection(show_all=True)
PARTS = ("on_cpu_ns", "blocked_ns", "run_queue_ns", "preempted_ns", "unknown_ns")


def simulated() -> Trace:
    ticker = Program("ticker", (Block(timeout_ns=90, listens=False), Run(5)))
    return Simulator(Workload((ticker, ticker, ticker), cpus=2, seed=1, warm_up_ns=0, length_ns=6_000)).trace


def test_the_second_half_reads_alone(tmp_path: Path) -> None:
    trace = simulated()
    middle = (trace.began_ns + trace.ended_ns) // 2
    whole = write_trace(tmp_path / "whole.offwake", trace, [[middle, middle]])
    with TraceReader.open(whole) as reader:
        second = [header for header in reader.blocks if header.kind == Kind.KEYFRAME][1]
    half = tmp_path / "half.offwake"
    half.write_bytes(whole.read_bytes()[second.offset :])

    with Recording.open(whole) as recording:
        of_whole = query.profile(recording, "off-cpu", Selection(begin_ns=middle - trace.began_ns))
    with Recording.open(half) as recording:
        assert recording.began_ns >= middle
        duration_ns = recording.duration_ns
        rows = query.table(recording, "threads", EVERYTHING).rows
        of_half = query.profile(recording, "off-cpu", EVERYTHING)
    assert {row["comm"] for row in rows} == {"ticker"}
    assert all(sum(row[part] for part in PARTS) == duration_ns for row in rows)
    stacks = {frames for frames, _ in of_half if "main" in frames}  # those of the snapshot are the kernel's part alone
    assert stacks and stacks <= set(of_whole.weights)
