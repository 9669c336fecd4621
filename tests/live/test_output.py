"""What a recording leaves on the host: its file, which is nobody else's to read, never over another, and never half."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import OFFWAKE, bpf_programs, offwake, programs_of, wait_until

CALLS = "open,openat,openat2,creat,mkdir,mkdirat,link,linkat,symlink,symlinkat,mknod,mknodat,chmod,fchmod,fchmodat,mount"
PATH = re.compile(r'"([^"]+)"')


@dataclass(frozen=True)
class Traced:
    """A recording made under strace: its file, and the calls that can create or open up files, one a line."""

    path: Path
    calls: list[str]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    folder, calls = tmp_path_factory.mktemp("output"), tmp_path_factory.mktemp("strace") / "calls"
    path = folder / "x.offwake"
    command: list[str | Path] = [OFFWAKE, "record", "-o", path, "--", "true"]
    before = os.umask(0)
    try:
        subprocess.run(
            ["strace", "-f", "-o", calls, "-e", f"trace={CALLS}", *command],
            check=True,
            capture_output=True,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )
    finally:
        os.umask(before)
    return Traced(path, [line for line in calls.read_text().splitlines() if " = -1 " not in line])


@contextmanager
def recording(path: Path, status: int) -> Iterator[subprocess.Popen[str]]:
    """Record until the end of the block; the recorder must then end with this status."""
    part = path.with_name(f"{path.name}.part")
    with subprocess.Popen([OFFWAKE, "record", "-o", path], stderr=subprocess.PIPE, text=True) as recorder:
        try:
            wait_until(lambda: part.exists() and part.stat().st_size > 0, "the recorder writes its first block")
            yield recorder
        finally:
            recorder.send_signal(signal.SIGINT)
            said = recorder.communicate(timeout=60)[1]
    assert recorder.returncode == status, said
    if status:
        assert str(path) in said.splitlines()[-1]


def test_it_is_created_new_without_following_links_and_for_its_owner_alone(traced: Traced) -> None:
    (created,) = (line for line in traced.calls if "O_CREAT" in line and "x.offwake" in line)
    assert {"O_EXCL", "O_NOFOLLOW", "O_CLOEXEC"} <= {*re.findall(r"O_[A-Z]+", created)}
    assert ", 0600)" in created
    assert not [line for line in traced.calls if "chmod" in line]
    assert traced.path.stat().st_mode & 0o777 == 0o600


def test_it_is_all_that_is_left(traced: Traced) -> None:
    assert [*traced.path.parent.iterdir()] == [traced.path]
    creating = [line for line in traced.calls if "O_CREAT" in line or not re.search(r"\bopen", line)]
    paths = {path for line in creating for path in PATH.findall(line)}
    assert {path for path in paths if not Path(path).is_absolute()} == {"x.offwake.part"}  # in its folder
    left = {path for path in paths if Path(path).is_absolute() and Path(path).exists()}
    assert all(Path(path).is_relative_to("/run/offwake") for path in left), creating  # compiled programs


def test_nothing_is_mounted_and_no_program_stays(traced: Traced, tmp_path: Path) -> None:
    assert not [line for line in traced.calls if " mount(" in line]
    with recording(tmp_path / "x.offwake", 0) as recorder:
        programs = programs_of(recorder.pid)
        assert programs
    wait_until(lambda: programs.isdisjoint(bpf_programs()), "the kernel unloads the recorder's programs")


def test_the_name_appears_when_it_is_complete_and_the_part_reads_before(tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    with recording(path, 0):
        part = path.with_name("x.offwake.part")

        def info() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(offwake("info", part, "--json").stdout)
            return found

        wait_until(lambda: info()["events"] > 0, "a second of events is in the file")
        wait_until(lambda: not info()["damaged_bytes"], "it is not in the midst of a write")
        assert info()["ended"] is False
        assert not path.exists()
    assert [*tmp_path.iterdir()] == [path]
    assert offwake("verify", path).returncode == 0


def test_a_name_that_was_taken_meanwhile_stays_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    with recording(path, 1):
        path.write_text("precious")
    assert path.read_text() == "precious"
    assert offwake("verify", path.with_name("x.offwake.part")).returncode == 0
