"""A disk or a reader that stalls: memory stays bounded, the kernel counts what is lost, and the file is whole afterwards."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live.harness import OFFWAKE, offwake, wait_until
from tests.live.test_loss import counted

BUFFER_MB = 2
MEMORY_MB = 64  # beside the rings
ROUND_TRIPS = 200_000  # of three events each: more than the queue and the rings hold


@contextmanager
def frozen(folder: Path, pid: int) -> Iterator[None]:
    """Freeze a file system that is mounted where `pid` lives: every write to it waits."""
    there = ["nsenter", "--mount", "--target", str(pid), "fsfreeze"]
    subprocess.run([*there, "--freeze", folder], check=True)
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
    command: list[str | Path] = [OFFWAKE, "record", "-o", path, "--buffer-mb", str(BUFFER_MB), "--sources", "sched"]
    place = ["env", f"OUT={path}", f"COPY={copy}", "unshare", "--mount"]
    under: list[str | Path] = [*place, "sh", "-c", script, "sh", image, disk]
    with subprocess.Popen([*under, *command], stderr=subprocess.PIPE, text=True) as shell:
        wait_until(lambda: bool(children(shell.pid)), "the recorder starts")
        [recorder] = children(shell.pid)
        inside = Path(f"/proc/{shell.pid}/root{part}")
        wait_until(lambda: inside.exists() and inside.stat().st_size > 0, "the recorder writes its first block")
        with frozen(disk, recorder):
            Path(f"/proc/{recorder}/clear_refs").write_text("5")  # VmHWM begins anew
            before_mb = memory_mb(recorder)["VmRSS:"]
            load()
            most_mb = memory_mb(recorder)["VmHWM:"]
        subprocess.run(["kill", "-INT", str(recorder)], check=True)
        said = shell.communicate(timeout=120)[1]
    assert shell.returncode == 3, said
    assert most_mb - before_mb <= MEMORY_MB + BUFFER_MB
    assert_whole_with_counted_loss(copy)


def test_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    command: list[str | Path] = [OFFWAKE, "record", "-o", "-", "--buffer-mb", str(BUFFER_MB), "--sources", "sched"]
    with (
        open(path, "wb") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as recorder,
    ):
        assert recorder.stdout and recorder.stderr
        file.write(recorder.stdout.read(128))  # the header of the first block
        Path(f"/proc/{recorder.pid}/clear_refs").write_text("5")
        before_mb = memory_mb(recorder.pid)["VmRSS:"]
        load()
        most_mb = memory_mb(recorder.pid)["VmHWM:"]
        recorder.send_signal(signal.SIGINT)
        shutil.copyfileobj(recorder.stdout, file)
        said = recorder.stderr.read()
    assert recorder.returncode == 3, said
    assert most_mb - before_mb <= MEMORY_MB + BUFFER_MB
    assert_whole_with_counted_loss(path)


def children(pid: int) -> list[int]:
    """The recorders among a process's children."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"offwake" in Path(f"/proc/{child}/cmdline").read_bytes()]


def assert_whole_with_counted_loss(path: Path) -> None:
    assert offwake("verify", path).returncode == 0
    info = json.loads(offwake("info", path, "--json").stdout)
    assert info["lost"]["total"] > 0
    held, stored, counters = counted(path)
    assert held == stored
    rows = [row for kinds in counters.values() for row in kinds.values()]
    assert all(attempted == stored + failed for attempted, stored, failed, _ in rows)
    assert sum(row[2] for row in rows) == info["lost"]["by_cause"]["ring full"]
    assert sum(row[0] for row in rows) > 2 * ROUND_TRIPS
