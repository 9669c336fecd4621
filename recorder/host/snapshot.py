"""What /proc knows: threads, mappings, cgroups, devices, the machine, the clocks.

Read when the events are already on, so that whatever changes meanwhile is in the events. Processes come and go during
the walk and some refuse even root: what cannot be read is left out.
"""

import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = [
    "KernelStack",
    "Mapping",
    "Thread",
    "boot_id",
    "cgroup_of",
    "clocks",
    "devices",
    "kernel_stack",
    "lines_of",
    "machine",
    "mappings_of",
    "offline_cpus",
    "online_cpus",
    "processes",
    "threads_of",
]

Thread = list[Any]
"""[tid, tgid, comm, state, cpu, start (CLOCK_BOOTTIME, ns), kernel stack leaf first or None]"""
Mapping = tuple[int, int, int, str, bytes]
"""(start, end, file offset, path, what tells the file from others of its name) of an executable mapping"""
KernelStack = Callable[[int, int], list[str] | None]
"""How the kernel stack of a thread (process, thread) is had, as `kernel_stack` does."""

TICKS = os.sysconf("SC_CLK_TCK")
STACK_LINE = re.compile(r"\[<[^>]*>\] ([^+\s]+)")
SLEEPING = "SDTtIP"
CLOCK_READINGS = 3


def online_cpus() -> list[int]:
    """Number the CPUs that are online."""
    return _cpus("online")


def offline_cpus() -> list[int]:
    """Number the CPUs that could come online, also those that could be put in meanwhile."""
    return sorted({*_cpus("possible")} - {*_cpus("online")})


def _cpus(which: str) -> list[int]:
    found: list[int] = []
    for part in Path(f"/sys/devices/system/cpu/{which}").read_text().strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def lines_of(path: str) -> list[str]:
    """Return the lines of a file of the kernel's, without their ends. Raises OSError.

    The kernel ends them at line feeds alone: the names in them are anybody's to choose, and may hold all else that Python
    ends lines at.
    """
    with open(path, "rb") as file:
        return file.read().decode(errors="surrogateescape").split("\n")[:-1]


def clocks() -> dict[str, int]:
    """Read the three clocks together, in nanoseconds: the closest of a few readings, for one may be interrupted."""
    readings = [
        (time.monotonic_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns(), time.monotonic_ns())
        for _ in range(CLOCK_READINGS)
    ]
    monotonic_ns, boottime_ns, realtime_ns, _ = min(readings, key=lambda reading: reading[3] - reading[0])
    return {"monotonic_ns": monotonic_ns, "boottime_ns": boottime_ns, "realtime_ns": realtime_ns}


def boot_id() -> str:
    """Return what tells this boot of this host from all others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def machine() -> dict[str, Any]:
    """Describe the host."""
    return {
        "host": platform.node(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "boot_id": boot_id(),
        "cpus": online_cpus(),
        "page_size": os.sysconf("SC_PAGESIZE"),
        "devices": devices(),
    }


def devices() -> dict[str, str]:
    """Name the block devices by "major:minor"."""
    lines = Path("/proc/partitions").read_text().splitlines()[2:]
    return {f"{major}:{minor}": name for major, minor, _, name in (line.split() for line in lines)}


def processes() -> Iterator[int]:
    """Yield the ids of all processes."""
    yield from (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def threads_of(pid: int, stack_of: KernelStack) -> Iterator[Thread]:
    """Yield a process's threads; a sleeping one with its kernel stack."""
    try:
        tids = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for tid in tids:
        task = f"/proc/{pid}/task/{tid}"
        try:
            with open(f"{task}/stat", "rb") as file:
                before, _, after = file.read().rpartition(b")")
        except OSError:
            continue
        fields = after.split()
        comm, state = before.partition(b"(")[2].decode(errors="surrogateescape"), fields[0].decode()
        stack = stack_of(pid, int(tid)) if state in SLEEPING else None
        yield [int(tid), pid, comm, state, int(fields[36]), int(fields[19]) * 1_000_000_000 // TICKS, stack]


def kernel_stack(pid: int, tid: int) -> list[str] | None:
    """Return a thread's kernel stack, leaf first; None where it has none, or it may not be read."""
    try:
        with open(f"/proc/{pid}/task/{tid}/stack") as file:
            return STACK_LINE.findall(file.read()) or None
    except OSError:
        return None


def cgroup_of(pid: int) -> str:
    """Return the path of a process's cgroup, "" where it cannot be read.

    It is the one of the unified hierarchy. Where that is the root because the controllers are still in hierarchies of
    version 1, the deepest of theirs says more.
    """
    try:
        groups = [line.removesuffix(" (deleted)").split(":", 2) for line in lines_of(f"/proc/{pid}/cgroup")]
    except OSError:
        return ""
    unified = next((path for number, _, path in groups if number == "0"), "/")
    if unified != "/":
        return unified
    return max((path for *_, path in groups), key=lambda path: path.rstrip("/").count("/"), default="")


def mappings_of(pid: int) -> Iterator[Mapping]:
    """Yield a process's executable mappings."""
    try:
        lines = lines_of(f"/proc/{pid}/maps")
    except OSError:  # gone, a kernel thread, or one that refuses even root
        return
    for line in lines:
        parts = line.split(maxsplit=5)
        if "x" not in parts[1]:
            continue
        start, _, end = parts[0].partition("-")
        path = parts[5] if len(parts) > 5 else "//anon"
        major, _, minor = parts[3].partition(":")
        identity = f"{int(major, 16)}:{int(minor, 16)}:{parts[4]}".encode()
        yield int(start, 16), int(end, 16), int(parts[2], 16), path, identity
