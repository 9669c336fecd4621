"""A signal ends a recording cleanly in every state: nothing half done, nothing left attached, no traceback."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from signal import Signals

import pytest

from tests.live.harness import bpf_programs, offwake, programs_of, recorder, wait_until

NOTHING_COMPILED = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh")
ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE]


def size_of_part(path: Path) -> int:
    part = path.with_name(f"{path.name}.part")
    return part.stat().st_size if part.exists() else -1


def writes_symbols(pid: int) -> bool:
    """The recorder makes itself nice when it begins to."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16] == "10"


def compiling(path: Path, process: subprocess.Popen[str]) -> None:
    wait_until(lambda: size_of_part(path) == 0, "the recorder compiles")


def capturing(path: Path, process: subprocess.Popen[str]) -> None:
    wait_until(lambda: size_of_part(path) > 0, "the recorder writes its first block")


def symbols(path: Path, process: subprocess.Popen[str]) -> None:
    capturing(path, process)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: writes_symbols(process.pid), "the recorder writes symbols")


@pytest.mark.parametrize("number", ENDING)
def test_while_it_compiles(tmp_path: Path, number: Signals) -> None:
    """Nothing was recorded, and nothing is left."""
    with recorder("-o", tmp_path / "x.offwake", under=NOTHING_COMPILED) as process:
        compiling(tmp_path / "x.offwake", process)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert said == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("state", [capturing, symbols])
def test_what_was_recorded_is_whole(
    tmp_path: Path, state: Callable[[Path, subprocess.Popen[str]], None], number: Signals
) -> None:
    """Whether it is the first signal or one after it."""
    path = tmp_path / "x.offwake"
    with recorder("-o", path) as process:
        state(path, process)
        programs = programs_of(process.pid)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode in (0, 3), said
    assert "Traceback" not in said
    wait_until(lambda: programs.isdisjoint(bpf_programs()), "the kernel unloads the recorder's programs")
    assert offwake("verify", path).returncode == 0
    reason = number.name if state is capturing else "SIGINT"
    info = offwake("info", path)
    assert f"ended by: {reason}" in info.stdout
    assert "no symbols" not in info.stdout
