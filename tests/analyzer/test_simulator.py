"""The simulator is worth believing: its truth adds up, the events alone lead to it too, and it sets every trap."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.analyzer.replay import replay
from tests.analyzer.workloads import workloads
from tests.events import Event, Trace
from tests.mishaps import disordered, with_losses
from tests.simulator import Block, Program, Run, Simulator, Spawn, Wake, Workload
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
        Program("sleeper", (Block(timeout_ns=None, listens=False),)),
        Program("parent", (Spawn(child), Spawn(child, process=True), Block(timeout_ns=200))),
        *(Program(f"worker{i}", (Wake(i), Wake(i + 1), Run(9), Block(), Block(2, 40))) for i in range(8)),
    )
    simulator = Simulator(Workload(programs, cpus=3, seed=1, warm_up_ns=500, length_ns=20_000))
    lives, threads = simulator.lives, truth_of(simulator, simulator.trace)
    changes = [change for life in lives for change in life.changes]
    wakeups = [wakeup for life in lives for wakeup in life.wakeups]
    times = Counter(event.time_ns for event in simulator.trace.events)
    traps = {
        "woken before the sleeping switch-out": any(c.part == "run_queue" and c.wait and c.wait.stack and hasattr(c.event, "prev") for c in changes),
        "woken while preempted": any(wakeup.part == "preempted" for wakeup in wakeups),
        "woken while running": any(wakeup.part == "on_cpu" for wakeup in wakeups),
        "ids are used again": len({life.tid for life in lives}) < len(lives),
        "slept throughout": any(thread.slept_throughout for thread in threads),
        "ran throughout": False,
        "ties between CPUs": max(times.values()) > 1,
        "open at the end": any(piece.ending == ("[open]",) for thread in threads for piece in thread.pieces),
    }
    assert all(traps.values()), traps
