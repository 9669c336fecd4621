"""Stacks that the analyzer unwinds are those that the kernel would have walked, whenever their words arrive."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from hypothesis import given

from offwake.analyzer import query
from offwake.analyzer.recording import Recording
from offwake.analyzer.unwind import End
from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from tests.analyzer.recorded import ALL, recorded, weights_of
from tests.analyzer.workloads import workloads
from tests.events import Comm, Known, Sample, Switch, Trace, Waking
from tests.programs import Workload
from tests.simulator import Simulator
from tests.traces import write_trace

BEGAN = 1_000_000_000
READ = ("_start", "main", "reads", "vfs_read_[k]", "schedule_[k]")
WRITE = ("_start", "main", "writes", "vfs_write_[k]", "try_to_wake_up_[k]")


def waits(*, by_exec: bool = False, stack: tuple[str, ...] = READ) -> Trace:
    """Two threads on two CPUs: one waits twice at the same stack, the other wakes it; the first may run another program."""
    events = [
        Switch(BEGAN + 100, 0, prev=10, next=0, state=1, stack=stack),
        Waking(BEGAN + 200, 1, waker=20, target=10, stack=WRITE),
        Switch(BEGAN + 210, 0, prev=0, next=10),
        *([Comm(BEGAN + 250, 0, 10, "other", by_exec=True)] if by_exec else []),
        Switch(BEGAN + 300, 0, prev=10, next=0, state=1, stack=stack),
        Waking(BEGAN + 500, 1, waker=20, target=10, stack=WRITE),
        Switch(BEGAN + 520, 0, prev=0, next=10),
        Sample(BEGAN + 550, 0, 10, ("_start", "main", "computes")),
    ]
    threads = [Known(10, 10, "reader", "R", 0), Known(20, 20, "writer", "R", 1)]
    return Trace(2, BEGAN, BEGAN + 1000, threads, list(events), user_stacks=True)


@given(workloads())
def test_views_do_not_depend_on_who_walked(workload: Workload) -> None:
    trace = Simulator(workload).trace
    for view in ("off-wake", "on-cpu", "chain"):
        with recorded(trace) as walked, recorded(replace(trace, user_stacks=True)) as unwound:
            assert weights_of(query.profile(unwound, view, ALL)) == weights_of(query.profile(walked, view, ALL))


def test_words_are_needed_once() -> None:
    with recorded(waits()) as recording:
        found = weights_of(query.profile(recording, "off-wake", ALL))
        assert found == Counter({("reader", *READ, "--", *reversed(WRITE), "writer"): 300})
        stacks = recording.info()["user_stacks"]
    assert stacks == {"total": 4, "whole": 4, "cut_short": 0, "why": {}, "recorded": 3}  # that of the sample too


def test_a_program_that_was_left_is_unwound_by_its_own_mappings() -> None:
    """Both stacks are decoded before either is unwound, and the process has two address spaces then."""
    with recorded(waits(by_exec=True)) as recording:
        found = weights_of(query.profile(recording, "off-cpu", ALL))
    assert found == Counter({("reader", *READ): 110, ("other", *READ): 220})


def test_samples_are_unwound_too() -> None:
    with recorded(waits()) as recording:
        found = weights_of(query.profile(recording, "on-cpu", ALL))
    assert ("reader", "_start", "main", "computes") in found


def test_stacks_that_are_lost_are_counted(tmp_path: Path) -> None:
    """A recording whose first segment is gone, of a stack that was not sent again."""
    path = write_trace(tmp_path / "whole.offwake", waits(), [[BEGAN + 220, BEGAN + 220]])
    with TraceReader.open(path) as reader:
        second = [block for block in reader.blocks if block.kind == Kind.KEYFRAME][1]
    cut = tmp_path / "cut.offwake"
    cut.write_bytes(path.read_bytes()[second.offset :])
    with Recording.open(cut) as recording:
        found = weights_of(query.profile(recording, "off-wake", ALL))
        stacks = recording.info()["user_stacks"]
    assert {frames[:2] for frames in found} == {("reader", "[no stack]")}
    assert stacks["why"] == {End.LOST.words: stacks["total"]} and stacks["total"] == 2


def test_a_stack_that_ends_nowhere_says_so() -> None:
    with recorded(waits(stack=("somewhere", "reads", "schedule_[k]"))) as recording:
        info = recording.info()
    assert info["user_stacks"]["why"] == {End.NO_CALLER.words: 2}
    assert info["verdict"] == [f"2 of 4 user stacks are not whole: {End.NO_CALLER.words} 2."]
