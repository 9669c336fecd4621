"""The flight recorder: dumps hold the last seconds, with symbols, while it goes on; nothing else is left."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.live.harness import ask, bpf_programs, offwake, programs_of, recorder, wait_until
from tests.live.test_refusals import WITHOUT_ROOT

WINDOW_S = 2
CONNECT = """
import socket, sys
held = [socket.socket(socket.AF_UNIX) for _ in range(40)]
try:
    for one in held:
        one.settimeout(1)
        one.connect("\\0" + sys.argv[1])
except OSError:  # no more are taken
    pass
print("connected", flush=True)
sys.stdin.read()
"""


@contextmanager
def flight_recorder(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A flight recorder that is ready to be asked."""
    with recorder("--flight-recorder", str(WINDOW_S), "-o", folder / "x.offwake", *options) as process:
        wait_until(lambda: f"@offwake-flight-{process.pid}-" in Path("/proc/net/unix").read_text(), "it is ready")
        yield process


@contextmanager
def running_for_ever(program: Path) -> Iterator[None]:
    """Run a program over and over beside the test."""
    again = f"while {program} >/dev/null; do :; done"
    with subprocess.Popen(["sh", "-c", again], start_new_session=True) as shell:
        try:
            yield
        finally:
            os.killpg(shell.pid, signal.SIGKILL)


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    return said


def dump(process: subprocess.Popen[str]) -> Path:
    result = offwake("record", "--dump", str(process.pid))
    assert result.returncode == 0, result.stderr
    return Path(result.stdout.rstrip("\n"))


@contextmanager
def strangers_who_say_nothing(pid: int) -> Iterator[None]:
    """Have nobody's process connect to a flight recorder until no more connections are taken."""
    [name] = {word for word in Path("/proc/net/unix").read_text().split() if word.startswith(f"@offwake-flight-{pid}-")}
    with subprocess.Popen(
        [*WITHOUT_ROOT, sys.executable, "-c", CONNECT, name[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as strangers:
        assert strangers.stdin and strangers.stdout
        assert strangers.stdout.readline() == b"connected\n"
        yield
        strangers.stdin.close()


def children(pid: int) -> set[int]:
    return {int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()}


def test_dumps_hold_the_last_seconds_while_it_goes_on(workload: Callable[[str], Path], tmp_path: Path) -> None:
    with flight_recorder(tmp_path) as process:
        subprocess.run([workload("pipe_chain")], check=True, capture_output=True)
        with running_for_ever(workload("pipe_chain")):
            first = dump(process)
        process.send_signal(signal.SIGUSR2)
        wait_until(lambda: len(list(tmp_path.glob("*.offwake"))) == 2, "the second dump is written")
        said = stop(process)
    assert "2 dumps written" in said
    [second] = set(tmp_path.iterdir()) - {first}
    for path, reason in ((first, "offwake record --dump"), (second, "SIGUSR2")):
        assert re.fullmatch(r"x-\d{8}-\d{6}(-\d+)?\.offwake", path.name)
        assert offwake("verify", path).returncode == 0
        info = ask("info", path, "--json")
        assert info["complete"] is True
        assert info["ended_by"] == reason
        assert path.stat().st_mode & 0o777 == 0o600
    assert ask("info", first, "--json")["duration_ns"] >= WINDOW_S * 10**9
    frames = {frame for stack in ask("folded", first, "--json")["stacks"] for frame in stack["frames"]}
    assert {"chain-b", "receive", "relay", "transmit"} <= frames
    assert not {frame for frame in frames if frame.endswith("_[k]") and "0x" in frame}
    infos = [ask("info", path, "--json") for path in (first, second)]
    ended = [datetime.fromisoformat(info["started"]) + timedelta(microseconds=info["duration_ns"] / 1000) for info in infos]
    assert ended[0] < ended[1]


def test_it_leaves_nothing_when_it_was_not_asked(tmp_path: Path) -> None:
    with flight_recorder(tmp_path) as process:
        said = stop(process)
    assert "0 dumps written" in said
    assert not list(tmp_path.iterdir())


def test_a_dump_that_cannot_be_written_costs_only_itself(tmp_path: Path) -> None:
    with flight_recorder(tmp_path, "--reserve", "99%") as process:
        result = offwake("record", "--dump", str(process.pid))
        assert result.returncode == 1
        assert "--reserve 99%" in result.stderr
        said = stop(process)
    assert "0 dumps written, 1 failed" in said
    assert not list(tmp_path.iterdir())


def test_killed_while_it_dumps(tmp_path: Path) -> None:
    """The child that writes has let go of whatever is attached, and finishes what it began."""
    with flight_recorder(tmp_path) as process:
        programs, helpers = programs_of(process.pid), children(process.pid)
        process.send_signal(signal.SIGUSR2)
        wait_until(lambda: bool(children(process.pid) - helpers), "a child writes the dump")
        [child] = children(process.pid) - helpers
        wait_until(lambda: bool(list(tmp_path.iterdir())), "it has begun")
        os.kill(child, signal.SIGSTOP)
        process.kill()
        wait_until(lambda: programs.isdisjoint(bpf_programs()), "the kernel unloads the recorder's programs")
        os.kill(child, signal.SIGCONT)
        wait_until(lambda: bool(list(tmp_path.glob("*.offwake"))), "the dump is complete")
    [path] = tmp_path.iterdir()
    assert offwake("verify", path).returncode == 0
    result = offwake("record", "--dump", str(process.pid))
    assert result.returncode == 1
    assert "is no flight recorder" in result.stderr


def test_who_may_ask_and_whom(tmp_path: Path) -> None:
    with flight_recorder(tmp_path) as one, flight_recorder(tmp_path) as other:
        result = offwake("record", "--dump")
        assert result.returncode == 2
        assert str(one.pid) in result.stderr
        assert str(other.pid) in result.stderr
        result = offwake("record", "--dump", str(one.pid), under=WITHOUT_ROOT)
        assert result.returncode == 1
        assert "only root" in result.stderr
        with strangers_who_say_nothing(one.pid), socket.socket(socket.AF_UNIX) as oddly_named:
            oddly_named.bind("\0x\n\n@offwake-flight-1-\r y")
            assert dump(one).parent == tmp_path
        [path] = tmp_path.iterdir()
        path.unlink()
        assert not list(tmp_path.iterdir())
        stop(other)
        assert dump(one).parent == tmp_path
        stop(one)


def test_a_trigger_dumps_by_itself_at_most_once_a_minute(tmp_path: Path) -> None:
    """Some waits may be missed where the kernel hides a switch (`Recorded.hidden_waits`): there are several."""
    sleeper = tmp_path / "long-sleeper"
    shutil.copy(shutil.which("sleep") or "", sleeper)

    def has_dumped() -> bool:
        subprocess.run([sleeper, "0.4"], check=True)
        return bool(list(tmp_path.glob("*.offwake")))

    with flight_recorder(tmp_path, "--trigger", "blocked > 300ms comm=long-sleeper") as process:
        wait_until(has_dumped, "the trigger dumps")
        for _ in range(3):
            subprocess.run([sleeper, "0.4"], check=True)
        said = stop(process)
    met = re.search(r"; 1 dump written; the trigger was met (\d+) times", said)
    assert met and int(met[1]) > 1, said
    [path] = tmp_path.glob("*.offwake")
    assert ask("info", path, "--json")["ended_by"] == "the trigger"
    longest = [row for row in ask("table", path, "--json") if row["comm"] == "long-sleeper"]
    assert max(row["blocked_ns"] for row in longest) > 300 * 10**6


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--flight-recorder", "0"], "--flight-recorder 0"),
        (["--flight-recorder", "10", "-o", "-"], "--flight-recorder"),
        (["--trigger", "blocked > 1s"], "--flight-recorder"),
        (["--flight-recorder", "10", "--trigger", "slow"], "--trigger"),
        (["--flight-recorder", "10", "--trigger", "blocked > 1s", "--sources", "block"], "the source sched"),
    ],
)
def test_options_that_make_no_sense(options: list[str], says: str) -> None:
    result = offwake("record", *options)
    assert result.returncode == 2
    assert says in result.stderr
