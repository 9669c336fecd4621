"""A recording that is to begin at a moment begins then, not before; until then it can be given up."""

import signal
from datetime import datetime
from pathlib import Path
from time import time

from tests.live.harness import ask, offwake, programs_of, recorder, wait_until


def test_it_begins_when_it_is_time(tmp_path: Path) -> None:
    path, moment = tmp_path / "x.offwake", int(time()) + 6
    result = offwake("record", "-o", path, "--start-at", f"@{moment}", "--duration", "0.1")
    assert result.returncode == 0, result.stderr
    info = ask("info", path, "--json")
    began = datetime.fromisoformat(info["started"]).timestamp()
    assert moment <= began + 0.001  # it is told in milliseconds
    assert info["duration_ns"] >= 100_000_000


def test_it_begins_at_a_multiple(tmp_path: Path) -> None:
    path, before = tmp_path / "x.offwake", time()
    result = offwake("record", "-o", path, "--align", "4", "--duration", "0.1")
    assert result.returncode == 0, result.stderr
    began = datetime.fromisoformat(ask("info", path, "--json")["started"]).timestamp()
    assert began + 0.001 >= (before // 4 + 1) * 4


def test_waiting_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    with recorder("-o", path, "--start-at", f"@{int(time()) + 3600}") as process:
        wait_until(lambda: bool(programs_of(process.pid)), "it has compiled its programs")
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGINT
    assert said == ""
    assert not list(tmp_path.iterdir())


def test_the_past_is_a_usage_error(tmp_path: Path) -> None:
    result = offwake("record", "-o", tmp_path / "x.offwake", "--start-at", "@1000000000")
    assert result.returncode == 2
    assert "has been already" in result.stderr
    assert not list(tmp_path.iterdir())
