"""Budgets: what a recording may take of the machine that it records, watched while it runs.

A recorder that was forgotten must not fill a disk, and one that is overrun must not slow its host for ever: what goes
beyond a budget ends the recording cleanly, with the reason in the file.
"""

import os
import re
from collections import deque
from dataclasses import dataclass

from offwake.errors import OutputError, UsageError
from offwake.recorder.writer_thread import WriterThread

__all__ = ["BudgetWatch", "Budgets", "Disk", "parse_size", "size_text"]

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
SIZE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)([KMGT]?)B?", re.IGNORECASE)
SMALLEST_BYTES = 10**6
NAMES_AT_LEAST, NAMES_AT_MOST = 512 << 10, 64 << 20
CPU_WINDOW_NS, CPU_STEP_NS = 10_000_000_000, 1_000_000_000


def parse_size(text: str, option: str) -> int:
    """Return the bytes of a size such as 500K, 2G or 1.5G; K, M, G and T are powers of 1,000. Raises UsageError."""
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} {text}: a size is a number with K, M, G or T, such as 500M or 1.5G")
    return int(float(match[1]) * UNITS[match[2].upper()])


def size_text(size: int) -> str:
    """Write a size as its option has it: "2 GB"."""
    unit = max((unit for unit, value in UNITS.items() if value <= max(size, 1)), key=lambda unit: UNITS[unit])
    return f"{size / UNITS[unit]:.4g} {unit}B"


@dataclass(frozen=True)
class Budgets:
    """What a recording may take: bytes of the file, percent of one CPU, and what it must leave free of the disk.

    Of the free space either `reserve_percent` of the file system or, where that is 0, `reserve_bytes` is left.
    """

    max_bytes: int = 2 * 10**9
    max_cpu_percent: float = 50.0
    reserve_percent: float = 5.0
    reserve_bytes: int = 0

    @staticmethod
    def parse(max_size: str, max_cpu: float, reserve: str) -> "Budgets":
        """Read the options. Raises UsageError."""
        max_bytes = parse_size(max_size, "--max-size")
        if max_bytes < SMALLEST_BYTES:
            raise UsageError(f"--max-size {max_size}: a recording with its symbols needs at least 1M")
        if not 0 < max_cpu < float("inf"):
            raise UsageError(f"--max-cpu {max_cpu:g}: it is a percentage of one CPU, above 0")
        if not reserve.strip().endswith("%"):
            return Budgets(max_bytes, max_cpu, 0.0, parse_size(reserve, "--reserve"))
        try:
            percent = float(reserve.strip().removesuffix("%"))
        except ValueError:
            percent = -1
        if not 0 <= percent < 100:
            raise UsageError(f"--reserve {reserve}: it is a percentage from 0 to 99, such as 5%, or a size such as 500M")
        return Budgets(max_bytes, max_cpu, percent)

    @property
    def names_bytes(self) -> int:
        """The part of the file that is kept for what comes after the capture: names and unwind tables."""
        return min(max(self.max_bytes // 8, NAMES_AT_LEAST), NAMES_AT_MOST)

    @property
    def reserve_text(self) -> str:
        """The reserve as the option has it."""
        return f"{self.reserve_percent:g}%" if self.reserve_percent else size_text(self.reserve_bytes)


class Disk:
    """The output's file system. Only the thread that writes looks at it: one that stalls must stall nothing else.

    `lacks` tells how much less than the reserve is free; never more than 0 for a pipe, which has no file system, or without
    any descriptor.
    """

    def __init__(self, fd: int | None, budgets: Budgets, sync: bool = False) -> None:
        self.lacks = 0
        self._fd, self._budgets, self._sync = fd, budgets, sync
        self._asked = False
        self._look()

    def require_room(self, where: object) -> None:
        """Raise OutputError when less than the reserve is free already."""
        if self.lacks > 0:
            raise OutputError(
                f"{where}: less than --reserve {self._budgets.reserve_text} of its file system is free; "
                "choose another place with -o, or a smaller reserve"
            )

    def visit(self, thread: WriterThread) -> None:
        """Have the writer's thread look how much is free, and sync if that was asked for; once at a time."""
        if not self._asked and self._fd is not None:
            self._asked = True
            thread.put(0, self._work)

    def _work(self) -> None:
        if self._sync and self._fd is not None:
            os.fdatasync(self._fd)
        self._look()
        self._asked = False

    def _look(self) -> None:
        if self._fd is None:
            return
        facts, budgets = os.fstatvfs(self._fd), self._budgets
        reserve = int(facts.f_blocks * facts.f_frsize * budgets.reserve_percent / 100) or budgets.reserve_bytes
        self.lacks = reserve - facts.f_bavail * facts.f_frsize if facts.f_blocks else 0


class BudgetWatch:
    """Holds a running recording against its budgets."""

    def __init__(self, budgets: Budgets, disk: Disk) -> None:
        self._budgets, self._disk = budgets, disk
        self._cpu: deque[tuple[int, float]] = deque()

    def exceeded(self, now_ns: int, cpu_s: float, file_bytes: int) -> str | None:
        """Return in words what budget has been reached, if any.

        `cpu_s` is what the recorder has used so far, of all CPUs; its average over the last ten seconds counts.
        """
        budgets = self._budgets
        if file_bytes >= budgets.max_bytes - budgets.names_bytes:
            return f"the file reached --max-size {size_text(budgets.max_bytes)}"
        if self._disk.lacks > 0:
            return f"the free space of the disk fell to --reserve {budgets.reserve_text}"
        percent = self._cpu_percent(now_ns, cpu_s)
        if percent is not None and percent > budgets.max_cpu_percent:
            seconds = CPU_WINDOW_NS // 10**9
            return (
                f"the recorder took {percent:.0f} % of a CPU over {seconds} seconds, "
                f"more than --max-cpu {budgets.max_cpu_percent:g}"
            )
        return None

    def _cpu_percent(self, now_ns: int, cpu_s: float) -> float | None:
        """Return the average over the window, at each step once the capture is as old as that."""
        if self._cpu and now_ns - self._cpu[-1][0] < CPU_STEP_NS:
            return None
        self._cpu.append((now_ns, cpu_s))
        while len(self._cpu) > 1 and now_ns - self._cpu[1][0] >= CPU_WINDOW_NS:
            self._cpu.popleft()
        began_ns, before_s = self._cpu[0]
        if now_ns - began_ns < CPU_WINDOW_NS:
            return None
        return 100 * (cpu_s - before_s) * 1e9 / (now_ns - began_ns)
