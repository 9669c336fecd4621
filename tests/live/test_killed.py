"""A recorder that is killed leaves nothing in the kernel, and a file that reads and can be made whole."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.harness import OFFWAKE, ask, bpf_programs, offwake, programs_of, wait_until


@pytest.fixture(scope="module")
def killed(workload: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The part that a killed recorder left.

    A kill loses about the last second; the pipe chain runs for three, so that of two runs the first is in the file.
    """
    path = tmp_path_factory.mktemp("killed") / "killed.offwake"
    part = path.with_name(f"{path.name}.part")
    with subprocess.Popen([OFFWAKE, "record", "-o", path], stderr=subprocess.PIPE) as recorder:
        try:
            wait_until(lambda: part.exists() and part.stat().st_size > 0, "the recorder writes its first block")
            programs = programs_of(recorder.pid)
            assert programs
            for _ in range(2):
                subprocess.run([workload("pipe_chain")], check=True, capture_output=True)
        finally:
            recorder.kill()
    wait_until(lambda: programs.isdisjoint(bpf_programs()), "the kernel unloads the recorder's programs")
    assert not path.exists()
    return part


def test_verify_says_that_it_was_not_ended(killed: Path) -> None:
    result = offwake("verify", killed)
    assert result.returncode == 4
    assert "not ended" in result.stdout


def test_info_reads_it(killed: Path) -> None:
    result = offwake("info", killed, "--json")
    assert result.returncode == 4
    info = json.loads(result.stdout)
    assert info["complete"] is False
    assert info["events"] > 0


def test_it_gives_a_flame_graph(killed: Path, tmp_path: Path) -> None:
    picture = tmp_path / "off-wake.svg"
    result = offwake("flamegraph", killed, "-o", picture)
    assert result.returncode == 4, result.stderr
    assert "chain-b" in picture.read_text()


def test_recover_makes_it_whole_with_symbols(killed: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.offwake"
    result = offwake("recover", killed, "-o", whole)
    assert result.returncode == 0, result.stderr
    verdict = offwake("verify", whole)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
    frames = {frame for stack in ask("folded", whole, "--json")["stacks"] for frame in stack["frames"]}
    assert {"chain-b", "receive", "relay", "transmit"} <= frames
    assert not {frame for frame in frames if frame.endswith("_[k]") and "0x" in frame}
