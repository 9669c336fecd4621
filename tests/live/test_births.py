"""A new thread is recorded with the call chain of the thread that made it."""

from collections.abc import Callable

import pytest

from offwake.analyzer.intervals import NEW
from offwake.analyzer.naming import Naming
from offwake.analyzer.recording import Recording
from tests.live.harness import Recorded


@pytest.mark.parametrize("name", ["lock", "pipe_chain"])  # workers that are threads, and that are processes
def test_every_worker_was_born_in_a_clone_of_the_same_thread(recorded: Callable[[str], Recorded], name: str) -> None:
    workers = {worker.tid for worker in recorded(name).threads}
    with Recording.open(recorded(name).path) as recording:
        replay = recording.replay()
        intervals = [row for batch in replay for row in batch.activity.intervals if row["kind"] == NEW]
        naming, tids = Naming(replay), replay.timeline.threads["tid"]
    births = {int(tids[row["thread"]]): row for row in intervals if tids[row["thread"]] in workers}
    assert births.keys() == workers
    for birth in births.values():
        assert "kernel_clone_[k]" in naming.root_first(birth["waker_stack"], birth["waker_space"])
    [parent] = {int(tids[birth["waker"]]) for birth in births.values()}
    assert parent not in workers
