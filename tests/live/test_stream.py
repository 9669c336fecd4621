"""A recording that is streamed to standard output is the same as one in a file."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.harness import OFFWAKE, ask, bpf_programs, offwake, programs_of, recorder, wait_until


@pytest.fixture(scope="module")
def streamed(workload: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A stream, in a file, and what else was said."""
    path = tmp_path_factory.mktemp("stream") / "x.offwake"
    command = f"{OFFWAKE} record -o - -- {workload('pipe_chain')} | cat > {path}"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120)
    return path, result.stderr


def test_it_is_whole(streamed: tuple[Path, str]) -> None:
    path, said = streamed
    assert offwake("verify", path).returncode == 0
    info = ask("info", path, "--json")
    assert info["complete"] is True
    assert info["own_cost"]["own_device"]["name"] == "pipe"
    assert "-: " in said


def test_it_has_names_and_unwind_tables(streamed: tuple[Path, str]) -> None:
    path, _ = streamed
    frames = {frame for stack in ask("folded", path, "--json")["stacks"] for frame in stack["frames"]}
    assert {"chain-b", "receive", "relay", "transmit"} <= frames
    assert not {frame for frame in frames if frame.endswith("_[k]") and "0x" in frame}
    stacks = ask("info", path, "--json")["user_stacks"]
    assert stacks["whole"] == stacks["total"] - stacks["cut_short"] > 0


def test_what_the_command_prints_is_not_in_it(streamed: tuple[Path, str]) -> None:
    path, said = streamed
    assert '"threads"' in said
    assert path.read_bytes().startswith(b"\x50\x2a\x4d\x18")


def test_a_terminal_is_refused(tmp_path: Path) -> None:
    master, terminal = os.openpty()
    try:
        result = subprocess.run([OFFWAKE, "record", "-o", "-"], stdout=terminal, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(master)
        os.close(terminal)
    assert result.returncode == 2
    assert b"terminal" in result.stderr


def test_a_reader_that_goes_away_ends_it() -> None:
    read, write = os.pipe()
    with recorder("-o", "-", stdout=write) as process:
        os.close(write)
        assert os.read(read, 128)
        programs = programs_of(process.pid)
        os.close(read)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert said == "offwake: standard output: whoever read it has gone; what they took is whole up to its last block\n"
    wait_until(lambda: programs.isdisjoint(bpf_programs()), "the kernel unloads the recorder's programs")
