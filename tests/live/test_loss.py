"""Loss is data: what the kernel counted, what is in the file, and what every command says of it agree to the event."""

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offwake.analyzer.decode import LOST
from offwake.analyzer.recording import Recording
from tests.live.harness import OFFWAKE, Recorded, ask, offwake, wait_until

ROUND_TRIPS = 20_000


@pytest.fixture(scope="module")
def starved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording whose recorder was stopped while far more happened than its rings can hold."""
    path = tmp_path_factory.mktemp("loss") / "starved.offwake"
    part = path.with_name(f"{path.name}.part")
    command: list[str | Path] = [OFFWAKE, "record", "-o", path, "--buffer-mb", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as recorder:
        wait_until(lambda: part.exists() and part.stat().st_size > 0, "the recorder writes its first block")
        recorder.send_signal(signal.SIGSTOP)
        try:
            bench = ["taskset", "-c", "0", "perf", "bench", "sched", "pipe", "-l", str(ROUND_TRIPS)]
            subprocess.run(bench, check=True, capture_output=True)
        finally:
            recorder.send_signal(signal.SIGCONT)
        subprocess.run(
            ["sleep", "0.1"], check=True
        )  # something that finds room again, and carries the note of the loss
        recorder.send_signal(signal.SIGINT)
        said = recorder.communicate(timeout=60)[1]
    assert recorder.returncode == 3, said
    assert "lost: ring full" in said
    return path


def counted(path: Path) -> tuple[Counter[tuple[int, int]], Counter[tuple[int, int]], dict[str, Any]]:
    """Return what the file holds and what the kernel stored, by CPU and kind; and the kernel's last counters."""
    held: Counter[tuple[int, int]] = Counter()
    with Recording.open(path) as recording:
        replay = recording.replay()
        names = {layout.name: kind for kind, layout in replay.decoder.layouts.items()}
        decode = replay.decoder.decode

        def counting(span: bytes, cpu: int) -> Any:
            rows = decode(span, cpu)
            for kind, part in rows.items():
                held[cpu, kind] += len(part)
            return rows

        replay.decoder.decode = counting  # type: ignore[method-assign]
        for _ in replay:
            pass
        counters = recording.last_tick["counters"]
    stored = Counter({(cpu, kind): row[1] for cpu, kinds in counters.items() for kind, row in kinds.items() if row[1]})
    programs = Counter({key: n for key, n in held.items() if key[1] not in (names["cpu_sample"], LOST)})
    return programs, stored, counters


def test_what_the_kernel_stored_is_in_the_file(starved: Path, recorded: Callable[[str], Recorded]) -> None:
    for path in (starved, recorded("pipe_chain").path):
        held, stored, counters = counted(path)
        assert held == stored
        for kinds in counters.values():
            assert all(attempted == stored + failed for attempted, stored, failed, _ in kinds.values())


def test_lost_events_are_counted_and_make_unknown_time(starved: Path) -> None:
    info = json.loads(offwake("info", starved, "--json").stdout)
    assert info["lost"]["by_cause"]["ring full"] == info["lost"]["total"] > ROUND_TRIPS
    assert info["complete"] is False
    assert any("events were lost" in sentence for sentence in info["verdict"])
    rows = ask("table", starved, "--json")
    unknown = [row for row in rows if row["unknown_ns"]]
    assert len(unknown) > len(rows) / 2  # whatever slept across the gap is not said to have slept


def test_nothing_is_lost_when_the_recorder_may_run(recorded: Callable[[str], Recorded]) -> None:
    info = ask("info", recorded("pipe_chain").path, "--json")
    assert info["lost"]["total"] == 0
    assert info["complete"] is True
