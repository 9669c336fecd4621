"""A recording that reaches a budget ends cleanly, is whole, and says why it ended; so does one whose disk fails."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.live.harness import OFFWAKE, ask, offwake


def test_the_size_of_the_file(tmp_path: Path) -> None:
    """A budget of the recorder's is no reason to end the command: it runs to its end, and gives its status."""
    path = tmp_path / "x.offwake"
    read = ["sh", "-c", "perf bench sched pipe -l 100000 >/dev/null; exit 7"]
    result = offwake("record", "-o", path, "--max-size", "1M", "--", *read)
    assert "ended by: the file reached --max-size 1 MB" in result.stderr
    assert result.returncode == 7
    assert path.stat().st_size <= 1_000_000
    assert offwake("verify", path).returncode == 0
    info = ask("info", path, "--json")
    assert info["ended_by"] == "the file reached --max-size 1 MB"
    assert info["complete"] is True
    frames = {frame for stack in ask("folded", path, "--json")["stacks"] for frame in stack["frames"]}
    assert any("pipe_read" in frame for frame in frames)


def test_the_reserve_of_the_disk(tmp_path: Path) -> None:
    """Somebody else fills the disk while it is recorded on, and waits until the recording is whole."""
    path = tmp_path / "x.offwake"
    wait = f"for _ in $(seq 600); do [ -e {path} ] && break; sleep 0.1; done"
    fill = f"dd if=/dev/zero of={tmp_path}/filler bs=1M count=30 2>&1; {wait}"
    recorder = shlex.join([str(OFFWAKE), "record", "-o", str(path), "--reserve", "40M", "--", "sh", "-c", fill])
    mount = f"mount -t tmpfs -o size=64M tmpfs {tmp_path}"
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f"{mount}; {recorder} >&2; {OFFWAKE} info {path} --json"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    info = json.loads(result.stdout)
    assert info["ended_by"] == "the free space of the disk fell to --reserve 40 MB"
    assert info["own_cost"]["own_device"]["name"] == "tmpfs"


def test_its_own_cpu(tmp_path: Path) -> None:
    """Less than any recorder takes: the recording ends once it is as old as the average is of, and the command runs on."""
    path = tmp_path / "x.offwake"
    runs_on = f"for _ in $(seq 1200); do [ -e {path} ] && exit 7; sleep 0.1; done"
    result = offwake("record", "-o", path, "--max-cpu", "0.001", "--", "sh", "-c", runs_on)
    assert result.returncode == 7, result.stderr
    reason = ask("info", path, "--json")["ended_by"]
    assert re.fullmatch(r"the recorder took \d+ % of a CPU over 10 seconds, more than --max-cpu 0.001", reason)
    assert f"ended by: {reason}" in result.stderr


def test_what_the_recorder_says_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    result = offwake("record", "-o", path, "--sync", "--", "true")
    assert result.returncode == 0, result.stderr
    own = ask("info", path, "--json")["own_cost"]
    assert own["own_cpu_ns"] > 0
    assert 0 < own["own_bytes"] <= path.stat().st_size
    assert own["peak_memory_bytes"] > 0
    facts = path.stat()
    assert own["own_device"]["number"] == f"{facts.st_dev >> 8 & 0xFFF}:{facts.st_dev & 0xFF}"
    wrote = f"written to {own['own_device']['name']}"
    assert wrote in result.stderr
    assert wrote in offwake("info", path).stdout
    assert f"to {own['own_device']['name']}." in offwake("summary", path).stdout


@pytest.mark.parametrize(
    ("option", "value"),
    [("--max-size", "lots"), ("--max-size", "10K"), ("--max-cpu", "0"), ("--reserve", "100%"), ("--reserve", "-5M")],
)
def test_budgets_that_are_none(tmp_path: Path, option: str, value: str) -> None:
    result = offwake("record", "-o", tmp_path / "x.offwake", f"{option}={value}")
    assert result.returncode == 2
    assert option in result.stderr
    assert not list(tmp_path.iterdir())
