"""What the live tests share: the command, recordings of workloads, and what the kernel says about BPF programs."""

import ctypes
import errno
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

OFFWAKE = Path(sys.prefix) / "bin" / "offwake"

_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
_BPF_PROG_GET_NEXT_ID = 11
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Thread:
    """What one worker of a workload measured of itself; see tests/workloads/measure.h."""

    name: str
    pid: int
    tid: int
    wall_ns: int
    cpu_ns: int
    operations: int
    waits: int
    waited_ns: int
    asleep_ns: int
    delay_ns: int


@dataclass(frozen=True)
class Recorded:
    """A recording of one workload, and the JSON document that the workload printed."""

    path: Path
    document: dict[str, Any]

    @property
    def threads(self) -> list[Thread]:
        return [Thread(**thread) for thread in self.document["threads"]]

    def thread(self, name: str) -> Thread:
        [thread] = [thread for thread in self.threads if thread.name == name]
        return thread

    def table(self, of: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = ask("table", self.path, "--of", of, "--json")
        return rows

    @property
    def not_comparable_ns(self) -> int:
        """Time of the workload's threads that the kernel did not show, or that a hypervisor stole."""
        tids = {thread.tid for thread in self.threads}
        unknown_ns = sum(row["unknown_ns"] for row in self.table("threads") if row["tid"] in tids)
        return int(self.document["stolen_ns"] + unknown_ns)

    def hidden_waits(self, thread: Thread) -> int:
        """How many of the thread's waits have no waking or no switch-in among the raw events.

        Some kernels hide from tracing whatever happens while a thread of PID 1 is on the CPU: its switch to the next
        thread, and the wakings of interrupts meanwhile. Waits that ended so have an unknown length.
        """
        hidden, asleep, woken = 0, False, False
        for event in events(self.path):
            if event["event"] == "sched_waking" and event["target"] == thread.tid:
                woken = True
            elif event["event"] == "sched_switch" and event["prev"] == thread.tid:
                hidden += asleep
                asleep = bool(event["state"])
            elif event["event"] == "sched_switch" and event["next"] == thread.tid:
                hidden += asleep and not woken
                asleep = woken = False
        return hidden

    def stacks(self, view: str) -> list[dict[str, Any]]:
        """Every stack of a view, with what pictures leave out by default."""
        stacks: list[dict[str, Any]] = ask("folded", self.path, "--view", view, "--all", "--json")["stacks"]
        return stacks


def offwake(*arguments: str | Path, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, `under` another command if one is given."""
    return subprocess.run([*under, OFFWAKE, *arguments], capture_output=True, text=True, timeout=120)


@cache
def ask(*arguments: str | Path) -> Any:
    """Run a command on a finished recording, which must succeed and print one JSON document; the document."""
    result = offwake(*arguments)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@cache
def events(path: Path) -> list[dict[str, Any]]:
    """Every raw event of a recording, in order of time."""
    result = offwake("dump", path, "--json")
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def record(path: Path, command: list[str | Path], under: tuple[str, ...] = (), sources: str = "") -> Recorded:
    """Record a workload for as long as it runs, from the default sources or others; nothing may be lost."""
    chosen = ("--sources", sources) if sources else ()
    result = offwake("record", "-o", path, *chosen, "--", *command, under=under)
    assert result.returncode == 0, result.stderr
    return Recorded(path, json.loads(result.stdout))


def with_tracefs(*command: str | Path) -> list[str | Path]:
    """A command line that has tracefs, which perf and other tools need: in a mount namespace, the host stays as it is."""
    mount = "mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing"
    return ["unshare", "--mount", "sh", "-c", f'{mount}; exec "$@"', "sh", *command]


@contextmanager
def recorder(
    *arguments: str | Path, under: tuple[str, ...] = (), stdout: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A recorder that runs beside the test, `under` a command that becomes it, and is killed if the test fails."""
    command: list[str | Path] = [*under, OFFWAKE, "record", *arguments]
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Poll until the condition holds; the test fails if it does not within the bound."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


class _NextId(ctypes.Structure):
    _fields_ = [("start_id", ctypes.c_uint32), ("next_id", ctypes.c_uint32), ("open_flags", ctypes.c_uint32)]


def bpf_programs() -> Iterator[int]:
    """Every BPF program that is loaded, by its id; OSError where this kernel or user has no BPF."""
    attributes = _NextId()
    while True:
        done = _libc.syscall(
            _BPF_SYSCALL[platform.machine()],
            _BPF_PROG_GET_NEXT_ID,
            ctypes.byref(attributes),
            ctypes.sizeof(attributes),
        )
        if done != 0:
            if ctypes.get_errno() == errno.ENOENT:
                return
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        yield attributes.next_id
        attributes.start_id = attributes.next_id


def programs_of(pid: int) -> set[int]:
    """The ids of the BPF programs that a process holds open."""
    descriptions = []
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            descriptions.append(path.read_text())
    lines = [line.split() for description in descriptions for line in description.splitlines()]
    return {int(words[1]) for words in lines if words[0] == "prog_id:"}
