"""The simulator deserves belief: its truth adds up, the events alone lead to it too, and it sets every trap."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.analyzer.replay import replay
from tests.analyzer.workloads import workloads
from tests.events import Event, Switch, Trace
from tests.mishaps import disordered, with_losses
from tests.programs import Block, Program, Run, Spawn, Wake, Workload
from tests.simulator import Simulator
from tests.truth import PARTS, off_cpu, off_wake, truth_of

Row = tuple[int, ...]


def partition(simulator: Simulator, trace: Trace, lost: frozenset[Event] = frozenset()) -> list[Row]:
    """Return the truth: every thread's id and the nanoseconds of its parts."""
    rows = [thread.row() for thread in truth_of(simulator, trace, lost)]
    return sorted((row["tid"], *(row[f"{part}_ns"] for part in PARTS)) for row in rows)


def replayed(trace: Trace) -> list[Row]:
    """Return what the events alone say of the same."""
    return sorted((tid, *(parts[part] for part in PARTS)) for tid, parts in replay(trace) if parts.total())


@given(workloads())
def test_lives_are_partitioned(workload: Workload) -> None:
    simulator = Simulator(workload)
    trace = simulator.trace
    for thread in truth_of(simulator, trace):
        begins = [piece.begin_ns for piece in thread.pieces]
        ends = [piece.end_ns for piece in thread.pieces]
        assert begins[1:] == ends[:-1]
        assert all(begin <= end for begin, end in zip(begins, ends, strict=True))
        assert trace.began_ns <= begins[0] and ends[-1] <= trace.ended_ns
    on_cpu_ns = sum(row[1] for row in partition(simulator, trace))
    assert on_cpu_ns <= workload.cpus * (trace.ended_ns - trace.began_ns)


@given(workloads(), st.integers(0, 2**32))
def test_events_alone_lead_to_the_same_truth(workload: Workload, seed: int) -> None:
    simulator = Simulator(workload)
    assert replayed(disordered(simulator.trace, Random(seed))) == partition(simulator, simulator.trace)


@given(workloads(), st.integers(0, 2**32))
def test_lost_events_leave_the_same_truth(workload: Workload, seed: int) -> None:
    simulator = Simulator(workload)
    trace, lost = with_losses(simulator.trace, Random(seed), gaps=3)
    assert replayed(trace) == partition(simulator, trace, lost)


@given(workloads())
def test_profiles_add_up_to_the_partition(workload: Workload) -> None:
    simulator = Simulator(workload)
    threads = truth_of(simulator, simulator.trace)
    rows = [thread.row() for thread in threads]
    blocked_ns = sum(row["blocked_ns"] for row in rows)
    assert off_wake(threads).total() == blocked_ns
    assert off_cpu(threads).total() == blocked_ns + sum(row["run_queue_ns"] + row["preempted_ns"] for row in rows)


def test_every_trap_is_set() -> None:
    child = Program("child", (Run(30), Block(timeout_ns=20)), rounds=2)
    programs = (
        Program("spinner", (Run(1_000_000),)),
        Program("sleeper", (Block(listens=False),)),
        Program("parent", (Spawn(child), Spawn(child, process=True), Block(timeout_ns=200))),
        *(Program(f"worker{i}", (Wake(i), Wake(i + 1), Run(9), Block(), Block(2, 40))) for i in range(8)),
    )
    simulator = Simulator(Workload(programs, cpus=3, seed=1, warm_up_ns=500, length_ns=20_000))
    lives, threads = simulator.lives, truth_of(simulator, simulator.trace)
    pieces = [piece for thread in threads for piece in thread.pieces]
    assert {piece.part for piece in pieces} == set(PARTS)
    assert {wakeup.part for life in lives for wakeup in life.wakeups} == {"blocked", "preempted", "on_cpu"}
    woken_early = [c for life in lives for c in life.changes if c.part == "run_queue" and isinstance(c.event, Switch)]
    assert woken_early
    assert any(event.preempted and event.state for event in simulator.trace.events if isinstance(event, Switch))
    assert len({life.tid for life in lives}) < len(lives)
    assert any(thread.slept_throughout for thread in threads)
    assert any(piece.ending == ("[open]",) and not piece.begin_ns == simulator.trace.began_ns for piece in pieces)
    assert len({event.time_ns for event in simulator.trace.events}) < len(simulator.trace.events)


def test_a_thread_runs_throughout() -> None:
    simulator = Simulator(Workload((Program("spinner", (Run(1_000_000),)),), 1, seed=1, warm_up_ns=99, length_ns=500))
    (thread,) = truth_of(simulator, simulator.trace)
    assert [piece.part for piece in thread.pieces] == ["on_cpu"]
    assert thread.switches == 0
