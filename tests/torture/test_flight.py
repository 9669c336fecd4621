"""A flight recorder under load for hours: its memory stays where it was, and its dumps read. What comes after a minute.

OFFWAKE_HOURS says for how long (default 1).
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.loads import CPUS, Load, build
from tests.live.harness import ask, offwake, recorder, wait_until

SECONDS = 3600 * float(os.environ.get("OFFWAKE_HOURS", "1"))
WINDOW_S, SAMPLE_S = 60, 10
WARM_UP_S = 2 * WINDOW_S  # until what is held is dropped again
DUMP_S = 600 if SECONDS >= 3600 else SECONDS / 6
EVENTS_A_SECOND = 20_000


def rss_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def dump(pid: int, folder: Path) -> Path:
    before = set(folder.glob("*.offwake"))
    os.kill(pid, signal.SIGUSR2)
    wait_until(lambda: set(folder.glob("*.offwake")) > before, "the dump is written", seconds=120)
    [path] = set(folder.glob("*.offwake")) - before
    return path


@pytest.mark.timeout(SECONDS + 600)
def test_memory_stays_flat(tmp_path: Path) -> None:
    load = Load.of(EVENTS_A_SECOND)
    arguments = [str(round(load.rate * SECONDS)), str(load.rate), *map(str, CPUS)]
    samples: list[int] = []
    dumps: list[Path] = []
    with (
        recorder("--flight-recorder", str(WINDOW_S), "-o", tmp_path / "x.offwake") as process,
        subprocess.Popen([build(tmp_path), *arguments]) as running,
    ):
        began = time.monotonic()
        while running.poll() is None:
            time.sleep(SAMPLE_S)
            elapsed = time.monotonic() - began
            if elapsed > WARM_UP_S:
                samples.append(rss_kb(process.pid))
            if elapsed // DUMP_S > len(dumps):
                dumps.append(dump(process.pid, tmp_path))
                assert offwake("verify", dumps[-1]).returncode == 0
                info = ask("info", dumps[-1], "--json")
                assert info["lost"]["total"] == info["lost"]["by_cause"]["recursion"], info["verdict"]
                assert info["events"] > EVENTS_A_SECOND * WINDOW_S
                dumps[-1].unlink()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode in (0, 3), said  # in so many events the kernel may skip one, and counts it
    assert dumps and f"{len(dumps)} dumps written" in said
    half = len(samples) // 2
    print(f"{said.splitlines()[-1]}\nKiB of memory, at most: {max(samples[:half])}, then {max(samples[half:])}")
    assert max(samples[half:]) <= 1.1 * max(samples[:half]), samples


def test_a_wait_within_a_minute_of_a_dump_is_counted_and_has_none_when_the_minute_is_over(tmp_path: Path) -> None:
    sleeper = tmp_path / "long-sleeper"
    shutil.copy(shutil.which("sleep") or "", sleeper)

    def dumps() -> int:
        subprocess.run([sleeper, "0.4"], check=True)
        return len(list(tmp_path.glob("*.offwake")))

    trigger = "blocked > 300ms comm=long-sleeper"
    with recorder("--flight-recorder", "5", "--trigger", trigger, "-o", tmp_path / "x.offwake") as process:
        wait_until(lambda: dumps() == 1, "the trigger dumps")
        assert dumps() == 1
        time.sleep(75)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert "1 dump written; the trigger was met" in said
