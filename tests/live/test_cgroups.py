"""Processes that are moved between cgroups while they are recorded: each is where it was when it was last looked at."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from offwake.analyzer.recording import Recording
from tests.live.harness import offwake, wait_until

PROGRAM = """
group=$1 folder=$2
sh -c 'echo 0 >$0/cgroup.procs; sh -c "echo \\$\\$ >$1/child"; exec sleep 1000' $group $folder >/dev/null 2>&1 &
echo $! >$folder/mover
echo $$ >$folder/shell
until [ -s $folder/child ]; do sleep 0.01; done
"""
"""A shell starts a process that moves itself, starts another there, which ends at once, and outlives the recording."""


def hierarchies() -> dict[str, Path]:
    """Return where the unified hierarchy is mounted, and one of version 1 if that is what tells processes apart."""
    found = {}
    unified_is_root = any(line == "0::/" for line in Path("/proc/self/cgroup").read_text().splitlines())
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found["unified"] = Path(place)
        elif kind == "cgroup" and "freezer" in options.split(",") and unified_is_root:
            found["version 1"] = Path(place)
    return found


@pytest.fixture(params=["unified", "version 1"])
def group(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A cgroup of the test's own, deeper than any that this machine's processes are in."""
    hierarchy = hierarchies().get(request.param)
    if hierarchy is None:
        pytest.skip("this machine has no such hierarchy, or it says nothing")
    group = hierarchy / f"offwake-test-{os.getpid()}" / "pool" / "tenant" / "worker"
    group.mkdir(parents=True)
    yield group
    for pid in (group / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    wait_until(lambda: not (group / "cgroup.procs").read_text(), "the cgroup is empty")
    for folder in (group, *group.parents[:3]):
        folder.rmdir()


def test_a_process_is_in_the_cgroup_that_it_was_moved_to_and_so_are_its_children(group: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    result = offwake("record", "-o", path, "--", "sh", "-c", PROGRAM, "sh", group, tmp_path)
    assert result.returncode == 0, result.stderr
    with Recording.open(path) as recording:
        replay = recording.replay()
        for _ in replay:
            pass
        where = {name: replay.cgroups.path(int((tmp_path / name).read_text())) for name in ("shell", "mover", "child")}
        own = replay.cgroups.path(recording.recorder_pid)
    moved = f"/offwake-test-{os.getpid()}/pool/tenant/worker"
    assert where == {"shell": own, "mover": moved, "child": moved}
    assert own not in ("", moved)
