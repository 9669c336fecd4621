"""The command of `record -- COMMAND`: started when everything is attached, and never killed."""

import os
import signal
import sys
from pathlib import Path

from tests.live.harness import offwake, recorder, wait_until
from tests.live.test_signals import NOTHING_COMPILED, compiling

DRAINS = """
import pathlib, signal, sys, time
def drain(number, frame):
    time.sleep(5)
    pathlib.Path(sys.argv[1]).write_text("drained")
    sys.exit(3)
signal.signal(signal.SIGTERM, drain)
pathlib.Path(sys.argv[2]).touch()
while True:
    signal.pause()
"""
STAYS = """
import os, pathlib, signal, sys
def note(number, frame):
    pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
signal.signal(signal.SIGTERM, note)
pathlib.Path(sys.argv[2]).touch()
while True:
    signal.pause()
"""


def test_one_that_outlives_the_recording_has_all_the_time_it_wants(tmp_path: Path) -> None:
    drained, ready = tmp_path / "drained", tmp_path / "ready"
    with recorder("-o", tmp_path / "x.offwake", "--", sys.executable, "-c", DRAINS, drained, ready) as process:
        wait_until(ready.exists, "the command has started")
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert process.returncode in (0, 3), said
    assert drained.read_text() == "drained"
    assert "was sent SIGTERM and has not ended yet" in said
    assert offwake("verify", tmp_path / "x.offwake").returncode == 0


def test_a_second_signal_leaves_it_to_itself(tmp_path: Path) -> None:
    asked, ready = tmp_path / "asked", tmp_path / "ready"
    command: list[str | Path] = ["sh", "-c", 'exec "$@" >/dev/null 2>&1', "sh", sys.executable, "-c", STAYS, asked, ready]
    with recorder("-o", tmp_path / "x.offwake", "--", *command) as process:
        wait_until(ready.exists, "the command has started")
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: asked.exists() and bool(asked.read_text()), "the command is asked to end")
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode in (0, 3), said
    os.kill(int(asked.read_text()), signal.SIGKILL)


def test_it_is_not_started_when_nothing_is_recorded(tmp_path: Path) -> None:
    path, ran = tmp_path / "x.offwake", tmp_path / "ran"
    with recorder("-o", path, "--", "touch", ran, under=NOTHING_COMPILED) as process:
        compiling(path, process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert not list(tmp_path.iterdir())
