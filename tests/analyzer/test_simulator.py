"""The simulator deserves belief: its truth adds up, the events alone lead to it too, and it sets every trap."""

from collections import Counter
from collections.abc import Callable
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.analyzer.replay import replay
from tests.analyzer.workloads import workloads
from tests.chains import DOING, chain_path, chain_time
from tests.events import Event, Stack, Switch, Trace
from tests.lives import Ending
from tests.mishaps import disordered, with_losses
from tests.profiles import off_cpu, off_cpu_split, off_wake, run_queue, wakeup, wall
from tests.programs import Block, Program, Run, Spawn, Wake, Workload
from tests.simulator import Simulator
from tests.truth import PARTS, truth_of, weights

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


@given(workloads(), st.integers(0, 2**32))
def test_views_add_up_to_the_partition(workload: Workload, seed: int) -> None:
    simulator = Simulator(workload)
    trace, lost = with_losses(simulator.trace, Random(seed), gaps=2)
    threads = truth_of(simulator, trace, lost)
    rows = [thread.row() for thread in threads]
    total = Counter({part: sum(row[f"{part}_ns"] for row in rows) for part in PARTS})
    waited_ns = total["run_queue"] + total["preempted"]
    for view in (off_wake, wakeup, chain_time, chain_path):
        assert weights(view(threads)).total() == total["blocked"], view.__name__
    assert weights(run_queue(threads)).total() == waited_ns
    assert weights(off_cpu(threads)).total() == total["blocked"] + waited_ns
    assert weights(off_cpu_split(threads)).total() == total["blocked"] + waited_ns
    assert weights(wall(threads)).total() == total.total()


@given(workloads(), st.integers(0, 2**32))
def test_views_are_one_another_with_more_frames(workload: Workload, seed: int) -> None:
    simulator = Simulator(workload)
    trace, lost = with_losses(simulator.trace, Random(seed), gaps=2)
    threads = truth_of(simulator, trace, lost)
    for chain in (chain_time, chain_path):
        assert cut(weights(chain(threads)), first_waker) == weights(off_wake(threads))
    assert cut(weights(off_cpu_split(threads)), without_part) == cut(weights(off_cpu(threads)), without_part)


def cut(view: Counter[Stack], shorter: Callable[[Stack], Stack]) -> Counter[Stack]:
    """Return a view with less of each stack."""
    total: Counter[Stack] = Counter()
    for frames, value_ns in view.items():
        total[shorter(frames)] += value_ns
    return total


def first_waker(chain: Stack) -> Stack:
    """Return a chain up to its first waker, without what that one did meanwhile."""
    waker = chain.index("--") + 1
    end = [*chain[waker:], "--"].index("--") + waker
    return chain[: end - (chain[end - 1] in DOING.values())]


def without_part(frames: Stack) -> Stack:
    """Return a stack without the last frame that says which part of a life it was."""
    return frames[:-1] if frames[-1] in ("[blocked]", "[run queue]", "[wake-up]", "[preempted]") else frames


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
    assert any(thread.row()["blocked_ns"] == thread.lived_ns for thread in threads)
    assert any(piece.ending == Ending() and piece.begin_ns > simulator.trace.began_ns for piece in pieces)
    assert len({event.time_ns for event in simulator.trace.events}) < len(simulator.trace.events)


def test_every_kind_of_chain_happens() -> None:
    child = Program("child", (Run(20), Block(timeout_ns=30), Wake(4)), rounds=1)
    programs = (
        *(Program(f"stage{place}", (Block(), Run(9), Wake(place - 1))) for place in range(5)),
        Program("master", (Block(timeout_ns=400, listens=False, source="[block device]"), Spawn(child))),
        *(Program("noise", (Run(90), Block(timeout_ns=60))) for _ in range(4)),
    )
    simulator = Simulator(Workload(programs, cpus=3, seed=1, warm_up_ns=500, length_ns=20_000))
    threads = truth_of(simulator, simulator.trace)
    queue = {frames[1:] for frames in weights(run_queue(threads))}
    assert {("[wake-up]",), ("[run queue]", "noise"), ("[preempted]", "noise"), ("[preempted]", "[idle]")} <= queue
    for chain in (chain_time, chain_path):
        stacks = weights(chain(threads))
        assert {"[timer]", "[block device]", "[open]", "swapper/0"} <= {frames[-1] for frames in stacks}
        assert max(frames.count("--") for frames in stacks) >= 4
        assert any("wake_up_new_task_[k]" in frames for frames in stacks)
    assert set(DOING.values()) - {"[unknown]"} <= {frames[-1] for frames in weights(chain_time(threads))}


def test_a_thread_runs_throughout() -> None:
    simulator = Simulator(Workload((Program("spinner", (Run(1_000_000),)),), 1, seed=1, warm_up_ns=99, length_ns=500))
    (thread,) = truth_of(simulator, simulator.trace)
    assert [piece.part for piece in thread.pieces] == ["on_cpu"]
    assert thread.switches == 0
