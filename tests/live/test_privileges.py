"""What a recorder may still do while it records: little; and the recording is whole all the same."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from offwake.recorder.host.helper import KEPT
from offwake.recorder.kernel.privileges import Capability
from tests.live.harness import OFFWAKE, ask, offwake, wait_until

NOBODY = 65534
LOOKS_AT_OTHERS = 1 << Capability.SYS_PTRACE | 1 << Capability.DAC_READ_SEARCH | 1 << Capability.CHECKPOINT_RESTORE
HELPS = sum(1 << kept for kept in KEPT)


def status(task: Path, field: str) -> int:
    """A number of a task's status, written in hexadecimal."""
    (line,) = (line for line in (task / "status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1], 16)


def capabilities(task: Path) -> set[int]:
    return {status(task, field) for field in ("CapInh", "CapPrm", "CapEff", "CapAmb")}


def tasks_of(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def children_of(pid: int) -> list[int]:
    return [int(child) for task in tasks_of(pid) for child in (task / "children").read_text().split()]


@dataclass(frozen=True)
class Seen:
    """A recording into a folder that only somebody else may enter, and what was seen of its recorder meanwhile."""

    path: Path
    pids: list[int]
    capabilities: set[int]
    helpers: set[int]
    gains_nothing: set[int]
    mode_and_owner: tuple[int, int]


@pytest.fixture(scope="module")
def seen(workload: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("private")
    os.chmod(folder, 0o700)
    os.chown(folder, NOBODY, NOBODY)
    path, part = folder / "x.offwake", folder / "x.offwake.part"
    environment = os.environ | {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)}
    with subprocess.Popen([OFFWAKE, "record", "-o", path], stderr=subprocess.PIPE, env=environment) as recorder:
        main = Path(f"/proc/{recorder.pid}")
        try:
            wait_until(lambda: status(main, "CapEff").bit_count() < 8, "the recorder gives up what it needs no more")
            subprocess.run([workload("pipe_chain")], check=True, capture_output=True)
            (helper,) = children_of(recorder.pid)
            tasks = tasks_of(recorder.pid)
            facts = part.stat()
            found = Seen(
                path,
                [recorder.pid, helper],
                set().union(*map(capabilities, tasks)),
                capabilities(Path(f"/proc/{helper}")),
                {status(task, "NoNewPrivs") for task in (*tasks, Path(f"/proc/{helper}"))},
                (facts.st_mode & 0o777, facts.st_uid),
            )
        finally:
            recorder.send_signal(signal.SIGINT)
            said = recorder.communicate(timeout=60)[1].decode()
    assert recorder.returncode == 0, said
    assert len(tasks) > 1  # the writer's thread is looked at too
    yield found


def test_it_may_look_at_others_and_nothing_else(seen: Seen) -> None:
    assert seen.capabilities - {0} == {LOOKS_AT_OTHERS}
    assert seen.helpers - {0} == {HELPS}
    assert seen.gains_nothing == {1}


def test_the_recording_is_whole(seen: Seen) -> None:
    assert offwake("verify", seen.path).returncode == 0
    frames = {frame for stack in ask("folded", seen.path, "--all", "--json")["stacks"] for frame in stack["frames"]}
    assert {"chain-b", "receive", "relay", "transmit"} <= frames
    assert not {frame for frame in frames if frame.endswith("_[k]") and "0x" in frame}


def test_sleepers_have_their_kernel_stacks_at_the_beginning_and_at_the_end(seen: Seen) -> None:
    with TraceReader.open(seen.path) as reader:
        for kind in (Kind.KEYFRAME, Kind.SNAPSHOT):
            values: Any = next(reader.values(block) for block in reader.blocks if block.kind == kind)
            stacks = {tid: stack for tid, _, _, _, _, _, stack in values["threads"] if stack}
            assert any("schedule" in frame or "do_" in frame for stack in stacks.values() for frame in stack), kind
            assert os.getpid() in stacks, kind  # this test waited for the workload, and for the recorder


def test_the_file_is_the_sudo_callers_from_the_beginning(seen: Seen) -> None:
    assert seen.mode_and_owner == (0o600, NOBODY)
    facts = seen.path.stat()
    assert (facts.st_mode & 0o777, facts.st_uid, facts.st_gid) == (0o600, NOBODY, NOBODY)
    assert [*seen.path.parent.iterdir()] == [seen.path]


def test_neither_the_recorder_nor_its_helper_is_in_the_recording(seen: Seen) -> None:
    assert not {row["pid"] for row in ask("table", seen.path, "--json")} & {*seen.pids}


def test_a_command_runs_with_what_the_recorder_was_started_with(tmp_path: Path) -> None:
    command = ["grep", "^Cap", "/proc/self/status"]
    unrecorded = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert offwake("record", "-o", tmp_path / "x.offwake", "--", *command).stdout == unrecorded


def test_a_command_that_became_somebody_else_is_ended_all_the_same(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    script = f"echo $$ > {noted}; exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups sleep 1000"
    result = offwake("record", "-o", tmp_path / "x.offwake", "--duration", "1", "--", "sh", "-c", script)
    assert result.returncode in (0, 3), result.stderr  # 3: something was lost
    assert not Path(f"/proc/{int(noted.read_text())}").exists()


def test_a_recording_is_whole_but_for_some_stacks_when_its_helper_is_killed(tmp_path: Path) -> None:
    path, part = tmp_path / "x.offwake", tmp_path / "x.offwake.part"
    with subprocess.Popen([OFFWAKE, "record", "-o", path], stderr=subprocess.PIPE, text=True) as recorder:
        wait_until(lambda: part.exists() and part.stat().st_size > 0, "the recorder writes its first block")
        (helper,) = children_of(recorder.pid)
        os.kill(helper, signal.SIGKILL)
        recorder.send_signal(signal.SIGINT)
        said = recorder.communicate(timeout=60)[1]
    assert recorder.returncode == 0, said
    assert offwake("verify", path).returncode == 0
    with TraceReader.open(path) as reader:
        values: Any = next(reader.values(block) for block in reader.blocks if block.kind == Kind.SNAPSHOT)
    assert values["threads"] and not any(stack for *_, stack in values["threads"])


def test_the_helper_ends_with_a_recorder_that_is_killed(tmp_path: Path) -> None:
    part = tmp_path / "x.offwake.part"
    with subprocess.Popen([OFFWAKE, "record", "-o", tmp_path / "x.offwake"], stderr=subprocess.PIPE) as recorder:
        wait_until(lambda: part.exists() and part.stat().st_size > 0, "the recorder writes its first block")
        (helper,) = children_of(recorder.pid)
        recorder.kill()
    wait_until(lambda: not Path(f"/proc/{helper}").exists(), "the helper is gone")
