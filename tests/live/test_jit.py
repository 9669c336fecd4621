"""Code that was written at run time has the names that its maker left in a perf map."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.harness import Recorded


@pytest.fixture
def jit(recorded: Callable[[str], Recorded]) -> Iterator[Recorded]:
    workload = recorded("jit")
    yield workload
    Path(f"/tmp/perf-{workload.thread('jit').pid}.map").unlink(missing_ok=True)


def test_waits_in_written_code_have_its_names(jit: Recorded) -> None:
    stacks = [stack for stack in jit.stacks("off-cpu") if "pause_us" in stack["frames"]]
    count = sum(stack["count"] for stack in stacks)
    assert jit.thread("jit").waits - jit.hidden_waits(jit.thread("jit")) <= count <= jit.thread("jit").waits
    for stack in stacks:
        frames = stack["frames"]
        assert frames[frames.index("main") : frames.index("pause_us")] == ["main", "written::at run time"]
