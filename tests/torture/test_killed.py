"""A live recorder that is killed at any moment, or whose every write, sync and rename fails: what it leaves reads.

OFFWAKE_KILLS says how often it is killed (default 200).
"""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.live.harness import OFFWAKE, bpf_programs, offwake, programs_of, recorder, wait_until

KILLS = int(os.environ.get("OFFWAKE_KILLS", "200"))
RECORD = ("--duration", "1")
LOAD = ["taskset", "-c", "0", "perf", "bench", "sched", "pipe", "-l", "100000"]

WRITES = (1, 2, 3, 4, 6, 8, 11, 14, 17, 20)  # strace counts each thread's: the first ones are the writer's, these the end's
CALLS = [("writev", n) for n in WRITES] + [("fsync", 1), ("renameat2", 1)]
ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EFBIG", "EINTR")
RETRIED = 20  # in a row; a kernel that is interrupted for ever is not to be had


def children(pid: int) -> set[int]:
    found: set[int] = set()
    with suppress(OSError):
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            found |= {int(child) for child in path.read_text().split()}
    return found


def assert_it_reads(part: Path, folder: Path) -> None:
    """What a recorder left lacks nothing but its end, and can be made whole."""
    if not part.stat().st_size:  # nothing was written yet
        assert "is empty" in offwake("verify", part).stderr
        return
    verdict = offwake("verify", part)
    said = verdict.stdout + verdict.stderr
    assert verdict.returncode in (0, 4), said  # 0: all but the name
    assert verdict.returncode == 0 or "was not ended" in said
    damage = [(int(at), int(size)) for at, size in re.findall(r"^byte (\d+): (\d+) bytes", said, re.MULTILINE)]
    assert all(at + size == part.stat().st_size for at, size in damage), f"but for the last write, cut short: {said}"
    assert f"{len(damage)} damaged or missing" in said or verdict.returncode == 0
    whole = folder / "recovered.offwake"
    recovered = offwake("recover", part, "-o", whole)
    assert recovered.returncode == 0, recovered.stderr
    assert offwake("verify", whole).returncode == (4 if damage else 0)


@contextmanager
def under_load() -> Iterator[None]:
    with subprocess.Popen(LOAD, stdout=subprocess.DEVNULL, start_new_session=True) as load:
        try:
            yield
        finally:
            os.killpg(load.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def takes_s(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a recording takes from its start to its end if nobody kills it; the first one compiles its programs."""
    taken = []
    for name in ("first", "second"):
        began = time.monotonic()
        with under_load(), recorder("-o", tmp_path_factory.mktemp(name) / "x.offwake", *RECORD) as process:
            assert process.wait() == 0
            taken.append(time.monotonic() - began)
    return taken[-1]


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_any_moment(seed: int, takes_s: float, tmp_path: Path) -> None:
    path, delay = tmp_path / "x.offwake", random.Random(seed).uniform(0, takes_s)
    part = path.with_name(f"{path.name}.part")
    with under_load(), recorder("-o", path, *RECORD) as process:
        time.sleep(delay)
        process.send_signal(signal.SIGSTOP)
        programs, helpers = set[int](), children(process.pid)
        with suppress(FileNotFoundError):  # it has just ended
            programs = programs_of(process.pid)
        process.kill()
        process.wait()
        wait_until(lambda: programs.isdisjoint(bpf_programs()), "nothing of it is attached")
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in helpers), "its helpers end")
    left = set(tmp_path.iterdir())
    assert left in (set(), {part}, {path})
    if part in left:
        assert_it_reads(part, tmp_path)
    elif path in left:
        assert offwake("verify", path).returncode == 0


@pytest.mark.parametrize("is_sticky", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(("call", "ordinal"), CALLS)
def test_a_call_that_fails(call: str, ordinal: int, error: str, is_sticky: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    part = path.with_name(f"{path.name}.part")
    when = f"{ordinal}..{ordinal + RETRIED}" if is_sticky and error == "EINTR" else f"{ordinal}{'+' * is_sticky}"
    inject = ["strace", "--quiet=all", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", f"trace={call}"]
    inject += ["-e", f"inject={call}:error={error}:when={when}"]
    command: list[str | Path] = [OFFWAKE, "record", "-o", path, "--duration", "0.2", "--reserve", "0"]
    result = subprocess.run([*inject, *command], capture_output=True, text=True, timeout=120)
    assert result.returncode in (0, 1, 3), result.stderr
    [said] = result.stderr.splitlines()
    if result.returncode == 1 and (call, ordinal) == ("writev", 1):
        assert said.startswith(f"offwake: {path}: ") and said.endswith("; nothing was recorded"), said
        assert not list(tmp_path.iterdir())
    elif result.returncode == 1:
        assert said.startswith(f"offwake: {part}: "), said
        assert set(tmp_path.iterdir()) == {part}
        assert_it_reads(part, tmp_path)
    else:
        assert set(tmp_path.iterdir()) == {path}
        assert offwake("verify", path).returncode == 0
