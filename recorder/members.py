"""Whom a narrowed recording is about: threads of some processes, of some cgroups, or of the command, and their children.

A child of a member is one from its first moment on: the BPF programs see to that. Whoever moves into a cgroup becomes one
when its list of threads is read again, four times a second.
"""

import os
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from offwake.errors import CannotRecord
from offwake.recorder.host.snapshot import lines_of
from offwake.recorder.programs.program import ALONE, MEMBER

__all__ = ["Members", "Narrowing"]

MOUNTS = "/proc/self/mountinfo"


@dataclass(frozen=True)
class Narrowing:
    """What to narrow a recording to; nothing of it: the whole machine. `cgroups` are paths as /proc/PID/cgroup or the
    mounted file system has them. Without `wakers` whoever wakes members is not looked at."""

    pids: tuple[int, ...] = ()
    tids: tuple[int, ...] = ()
    cgroups: tuple[str, ...] = ()
    command: bool = False
    wakers: bool = True

    def __bool__(self) -> bool:
        return bool(self.pids or self.tids or self.cgroups or self.command)


class _Kernel(Protocol):
    def set_member(self, tid: int, rank: int | None) -> None: ...


@dataclass
class Members:
    """Tells the kernel who is a member. Raises CannotRecord for a process, thread or cgroup that does not exist."""

    narrowing: Narrowing
    kernel: _Kernel
    at_first: set[int] = field(default_factory=set)
    _in_cgroups: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        for pid in self.narrowing.pids:
            if not os.path.isdir(f"/proc/{pid}/task/{pid}"):
                raise CannotRecord(f"--pid {pid}: there is no such process")
        for tid in self.narrowing.tids:
            if not os.path.isdir(f"/proc/{tid}"):
                raise CannotRecord(f"--tid {tid}: there is no such thread")
        self._folders = [_folder(cgroup) for cgroup in self.narrowing.cgroups]

    def begin(self, command: int | None) -> None:
        """Tell of those that there are, now that the children of members are found by the programs."""
        for pid in (*self.narrowing.pids, *([command] if self.narrowing.command and command else [])):
            self._add_process(pid)
        for tid in self.narrowing.tids:
            self.kernel.set_member(tid, ALONE)
        self.follow()
        self.at_first |= {*self.narrowing.tids} | self._in_cgroups

    def as_value(self) -> dict[str, Any]:
        """Return what the recording is narrowed to, as a keyframe holds it."""
        narrowing = self.narrowing
        lists = {"pids": [*narrowing.pids], "tids": [*narrowing.tids], "cgroups": [*narrowing.cgroups]}
        return lists | {"members": sorted(self.at_first), "command": narrowing.command, "wakers": narrowing.wakers}

    def follow(self, born: Set[int] = frozenset()) -> None:
        """Tell of whoever has moved into the cgroups, and out of them; also of those `born` there and moved out since."""
        if self._folders:
            present = {tid for folder in self._folders for tid in _threads_in(folder)}
            for tid in present - self._in_cgroups:
                self.kernel.set_member(tid, MEMBER)
            gone = self._in_cgroups - present
            if self._is_of_cgroups_alone:  # else they may be the children of others
                gone |= born - present
            for tid in gone - self._named():
                self.kernel.set_member(tid, None)
            self._in_cgroups = present

    @property
    def _is_of_cgroups_alone(self) -> bool:
        return not (self.narrowing.pids or self.narrowing.tids or self.narrowing.command)

    def _named(self) -> set[int]:
        """Return the threads that are members wherever they are."""
        return {*self.narrowing.tids, *(tid for pid in self.narrowing.pids for tid in _threads_of(pid))}

    def _add_process(self, pid: int) -> None:
        """Add a process's threads, until none is found that a thread that was not yet a member has made meanwhile."""
        known = set[int]()
        while fresh := _threads_of(pid) - known:
            for tid in fresh:
                self.kernel.set_member(tid, MEMBER)
            known |= fresh
        self.at_first |= known


def _threads_of(pid: int) -> set[int]:
    with suppress(OSError):  # it is gone
        return set(map(int, os.listdir(f"/proc/{pid}/task")))
    return set()


def _folder(cgroup: str) -> Path:
    """Find a cgroup's folder, by its own path or by that below where a hierarchy is mounted."""
    places = [Path(cgroup)] + [Path(mount) / cgroup.lstrip("/") for mount in _cgroup_mounts()]
    for place in places:
        if (place / "cgroup.procs").exists():
            return place
    raise CannotRecord(f"--cgroup {cgroup}: there is no such cgroup; /proc/PID/cgroup shows that of a process")


def _cgroup_mounts() -> Iterator[str]:
    for line in lines_of(MOUNTS):
        before, _, after = line.partition(" - ")
        if after.startswith(("cgroup ", "cgroup2 ")):
            yield before.split()[4]


def _threads_in(folder: Path) -> Iterator[int]:
    """Yield the threads in a cgroup and in those below it. `tasks` is the name in version 1."""
    for path, _, files in os.walk(folder):
        name = "cgroup.threads" if "cgroup.threads" in files else "tasks"
        with suppress(OSError):  # removed meanwhile
            yield from map(int, Path(path, name).read_text().split())
