"""A thread's birth keeps who bore it: a chain goes on from a new thread to the thread that made it."""

import pytest

from offwake.analyzer.intervals import NEW
from offwake.analyzer.naming import Naming
from tests.analyzer.recorded import recorded
from tests.events import IDLE, Comm, Fork, Known, Stack, Switch, Trace, WakeupNew

FORKS: Stack = ("main", "spawn", "entry_SYSCALL_64_[k]", "kernel_clone_[k]", "wake_up_new_task_[k]")


@pytest.mark.parametrize("stack", [FORKS, ()], ids=["with the parent's stack", "of a recorder that walked none"])
@pytest.mark.parametrize("runs", [True, False], ids=["that came to run", "that never ran"])
def test_a_birth_has_the_parent_as_waker(stack: Stack, runs: bool) -> None:
    trace = Trace(
        cpus=2,
        began_ns=1000,
        ended_ns=2000,
        threads=[Known(8, 8, "parent", "R", 1)],
        events=[
            Fork(1090, 1, 8, 9, 9),
            WakeupNew(1100, 1, 8, 9, 9, "parent", stack),
            *([Switch(1150, 0, IDLE, 9)] if runs else []),
        ],
    )
    with recorded(trace) as recording:
        replay = recording.replay()
        intervals = [row for batch in replay for row in batch.activity.intervals if row["kind"] == NEW]
        naming = Naming(replay)
    [birth] = intervals
    assert replay.timeline.threads[birth["waker"]]["tid"] == 8
    assert naming.root_first(birth["waker_stack"], birth["waker_space"]) == stack
    assert (birth["begin_ns"], birth["wake_ns"], birth["end_ns"]) == (1100, 1100, 1150 if runs else 2000)


def test_a_child_serves_like_its_parent_until_it_runs_another_program() -> None:
    trace = Trace(
        cpus=2,
        began_ns=1000,
        ended_ns=2000,
        threads=[Known(8, 8, "server", "R", 1), Known(20, 20, "shell", "R", 0)],
        events=[
            *(Fork(1000 + tid, 1, 8, tid, tid) for tid in (9, 10)),
            Fork(1011, 0, 20, 11, 11),
            Comm(1100, 0, 10, "ls", by_exec=True),
            Comm(1200, 1, 8, "server", by_exec=True),
        ],
        listeners=[8],
    )
    with recorded(trace) as recording:
        replay = recording.replay()
        assert list(replay)
        assert replay.listeners == {8, 9}
