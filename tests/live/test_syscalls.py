"""System calls: as many of each as a program made, failed as often, and in all no longer than it was there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from offwake.analyzer.syscalls import syscall_name
from tests.live.harness import ask, offwake

SYNCS, FAILS = 2003, 211
SAME_ID = """
import os
reused = 0
for _ in range(50):
    first = os.fork()
    if not first:
        os._exit(0)
    os.waitpid(first, 0)
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(first - 1))
    second = os.fork()
    if not second:
        os._exit(0)
    os.waitpid(second, 0)
    reused += first == second
print(reused)
"""
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
SYNCER = f"""
import os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
took = 0
for _ in range({SYNCS}):
    began = time.monotonic_ns()
    os.fsync(file)
    took += time.monotonic_ns() - began
for _ in range({FAILS}):
    try:
        os.rmdir(sys.argv[1])
    except NotADirectoryError:
        pass
print(took)
"""


@pytest.fixture(scope="module")
def recorded(machine: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A recording of 2,003 fsyncs on a file system of its own, and how long they took as measured around them (ns)."""
    folder = tmp_path_factory.mktemp("syscalls")
    image, disk, path = folder / "image", folder / "disk", folder / "x.offwake"
    image.touch()
    disk.mkdir()
    subprocess.run(["truncate", "-s", "32M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    try:
        command: list[str | Path] = [sys.executable, "-c", SYNCER, disk / "file"]
        result = offwake("record", "-o", path, "--sources", "syscalls", "--", *command)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert result.returncode == 0, result.stderr
    return path, int(result.stdout)


def test_what_a_thread_did_not_end_is_not_the_next_ones_that_has_its_id(tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    result = offwake("record", "-o", path, "--sources", "syscalls", "--", sys.executable, "-c", SAME_ID)
    assert result.returncode == 0, result.stderr
    reused = int(result.stdout)
    assert reused > 0, "no id was given out twice: the test shows nothing"
    calls = {row["call"] for row in ask("table", path, "--of", "syscalls", "--json")}
    assert "wait4" in calls and not calls & {"exit", "exit_group"}


def test_every_call_is_counted(recorded: tuple[Path, int]) -> None:
    path, took_ns = recorded
    rows = ask("table", path, "--of", "syscalls", "--json")
    (fsync,) = (row for row in rows if row["call"] == "fsync" and row["count"] >= SYNCS)
    assert (fsync["count"], fsync["errors"]) == (SYNCS, 0)
    assert fsync["max_ns"] <= fsync["total_ns"] <= took_ns
    assert fsync["average_ns"] == fsync["total_ns"] // SYNCS
    mine = {row["call"]: row for row in rows if row["pid"] == fsync["pid"]}
    assert (mine["rmdir"]["count"], mine["rmdir"]["errors"]) == (FAILS, FAILS)
    info = ask("info", path, "--json")
    assert info["complete"]
    assert {source["name"]: source["events"] for source in info["sources"]}["syscalls"] == sum(r["count"] for r in rows)


def test_histograms_hold_them_by_call(recorded: tuple[Path, int]) -> None:
    path, _ = recorded
    (fsync,) = (row for row in ask("table", path, "--of", "syscalls", "--json") if row["count"] == SYNCS)
    found = ask("histogram", path, "--of", "syscalls", "--by", "call", "--pid", str(fsync["pid"]), "--json")["histograms"]
    (one,) = (one for one in found if one["by"] == {"call": "fsync"})
    assert (one["count"], one["p50_ns"]) == (SYNCS, None)
    assert sum(low * count for low, _, count in one["buckets"]) <= fsync["total_ns"]
    assert fsync["total_ns"] < sum(end * count for _, end, count in one["buckets"])
    low, end, _ = one["buckets"][-1]
    assert low <= fsync["max_ns"] < end
    total = sum(one["count"] for one in found)
    assert ask("heatmap", path, "--of", "syscalls", "--pid", str(fsync["pid"]), "--json")["total"] == total


def test_names_are_those_of_the_headers() -> None:
    numbers = {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text())}
    assert len(numbers) > 300
    assert {number: syscall_name(number) for number in numbers} == numbers
    assert syscall_name(5000) == "syscall_5000"
