"""A disk that takes no more: the recorder stops, says so, and what was written reads and can be made whole."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.live.harness import OFFWAKE, offwake

LOAD = ["perf", "bench", "sched", "pipe", "-l", "40000"]


def recording(path: Path, command: list[str]) -> list[str]:
    return [str(OFFWAKE), "record", "-o", str(path), "--reserve", "0", "--", *command]


def assert_stopped(result: subprocess.CompletedProcess[str], path: Path, why: str) -> None:
    part = path.with_name(f"{path.name}.part")
    assert result.returncode == 1, result.stderr
    assert why in result.stderr
    assert "recover" in result.stderr
    assert "Traceback" not in result.stderr
    assert not path.exists()
    read = offwake("info", part, "--json")
    assert read.returncode == 4
    events = json.loads(read.stdout)["events"]
    assert events > 0
    assert offwake("recover", part, "-o", path).returncode == 0
    whole = offwake("info", path, "--json")
    assert json.loads(whole.stdout)["events"] == events


def test_a_full_file_system(tmp_path: Path) -> None:
    disk, path = tmp_path / "disk", tmp_path / "x.offwake"
    disk.mkdir()
    run = shlex.join(recording(disk / path.name, LOAD))
    script = f"mount -t tmpfs -o size=256K tmpfs {disk}; {run} >/dev/null; status=$?; cp {disk}/* {tmp_path}; exit $status"
    result = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=120)
    assert_stopped(result, path, "No space left on device")


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    limited = ["prlimit", f"--fsize={256 << 10}", *recording(path, LOAD)]
    result = subprocess.run(limited, capture_output=True, text=True, timeout=120)
    assert_stopped(result, path, "File too large")


@pytest.mark.parametrize(("error", "why"), [("EDQUOT", "Disk quota exceeded"), ("EIO", "Input/output error")])
def test_a_write_that_fails(tmp_path: Path, error: str, why: str) -> None:
    path = tmp_path / "x.offwake"
    inject = ["strace", "--quiet=all", "-f", "-o", "/dev/null", "-e", "trace=writev"]
    inject += ["-e", f"inject=writev:error={error}:when=6+"]
    result = subprocess.run([*inject, *recording(path, ["sleep", "3"])], capture_output=True, text=True, timeout=120)
    assert_stopped(result, path, why)
