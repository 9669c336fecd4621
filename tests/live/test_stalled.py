"""A disk or a reader that stalls: memory stays bounded, the kernel counts what is lost, and the file is whole afterwards."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.live.harness import OFFWAKE, offwake, recorder, wait_until
from tests.live.test_loss import counted

BUFFER_MB = 2
OPTIONS = ("--buffer-mb", str(BUFFER_MB), "--sources", "sched")
MEMORY_MB = 64  # beside the rings
ROUND_TRIPS = 200_000  # of three events each: more than the queue and the rings hold


@contextmanager
def frozen(folder: Path, pid: int) -> Iterator[None]:
    """Freeze a file system that is mounted where `pid` lives: every write to it waits. Its VmHWM begins anew."""
    there = ["nsenter", "--mount", "--target", str(pid), "fsfreeze"]
    subprocess.run([*there, "--freeze", folder], check=True)
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    try:
        yield
    finally:
        subprocess.run([*there, "--unfreeze", folder], check=True)


def memory_mb(pid: int) -> dict[str, int]:
    lines = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return {words[0]: int(words[1]) >> 10 for words in lines if words[0] in ("VmRSS:", "VmHWM:")}


def load() -> None:
    subprocess.run(["perf", "bench", "sched", "pipe", "-l", str(ROUND_TRIPS)], check=True, capture_output=True)


def test_a_frozen_file_system(tmp_path: Path) -> None:
    disk, image = tmp_path / "disk", tmp_path / "image"
    disk.mkdir()
    subprocess.run(["mkfs.ext4", "-q", image, "128M"], check=True)
    path, part, copy = disk / "x.offwake", disk / "x.offwake.part", tmp_path / "x.offwake"
    script = 'mount -o loop "$1" "$2" || exit; shift 2; "$@"; status=$?; cp "$OUT" "$COPY"; exit $status'
    command: list[str | Path] = [OFFWAKE, "record", "-o", path, *OPTIONS]
    place = ["env", f"OUT={path}", f"COPY={copy}", "unshare", "--mount"]
    under: list[str | Path] = [*place, "sh", "-c", script, "sh", image, disk]
    with subprocess.Popen([*under, *command], stderr=subprocess.PIPE, text=True) as shell, ended(shell.pid):
        wait_until(lambda: bool(recorders(shell.pid)), "the recorder starts")
        [pid] = recorders(shell.pid)
        inside = Path(f"/proc/{shell.pid}/root{part}")
        wait_until(lambda: inside.exists() and inside.stat().st_size > 0, "the recorder writes its first block")
        with frozen(disk, pid):
            before_mb = memory_mb(pid)["VmRSS:"]
            load()
            most_mb = memory_mb(pid)["VmHWM:"]
        os.kill(pid, signal.SIGINT)
        said = shell.communicate(timeout=120)[1]
    assert shell.returncode == 3, said
    assert most_mb - before_mb <= MEMORY_MB + BUFFER_MB
    assert_whole_with_counted_loss(copy)


def test_a_pipe_that_nobody_reads_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    read, write = os.pipe()
    with open(path, "wb") as file, recorder("-o", "-", *OPTIONS, stdout=write) as process:
        os.close(write)
        file.write(os.read(read, 128))  # the header of the first block
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        before_mb = memory_mb(process.pid)["VmRSS:"]
        load()
        most_mb = memory_mb(process.pid)["VmHWM:"]
        process.send_signal(signal.SIGINT)
        wait_until(lambda: not links_of(process.pid), "the recorder has detached its programs")
        with open(read, "rb") as stream:
            shutil.copyfileobj(stream, file)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 3, said
    assert most_mb - before_mb <= MEMORY_MB + BUFFER_MB
    assert_whole_with_counted_loss(path)


def links_of(pid: int) -> list[str]:
    """How a process's BPF programs are attached: a line a link."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/fdinfo").iterdir()]
    return [line for text in texts for line in text.splitlines() if line.startswith("link_type:")]


def recorders(shell: int) -> list[int]:
    """The recorders among the children of a shell."""
    found = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
    return [int(child) for child in found if name_of(int(child)) == OFFWAKE.name]


def name_of(pid: int) -> str:
    with suppress(OSError):  # it has ended
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


@contextmanager
def ended(shell: int) -> Iterator[None]:
    """Leave no recorder behind if the test fails."""
    try:
        yield
    except BaseException:
        for pid in (*recorders(shell), shell):
            os.kill(pid, signal.SIGKILL)
        raise


def assert_whole_with_counted_loss(path: Path) -> None:
    assert offwake("verify", path).returncode == 0
    info = json.loads(offwake("info", path, "--json").stdout)
    assert info["lost"]["total"] > 0
    held, stored, counters = counted(path)
    assert held == stored
    rows = [row for kinds in counters.values() for row in kinds.values()]
    assert all(row[0] == row[1] + row[2] for row in rows)  # attempted, stored, failed
    assert 0 < sum(row[2] for row in rows) <= info["lost"]["total"]
    assert sum(row[0] for row in rows) > 2 * ROUND_TRIPS
