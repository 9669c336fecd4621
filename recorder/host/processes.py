"""Who is alive, in which cgroup, and what is mapped where, kept up to date from the side-band records.

Every segment of a file opens with this table, so that a segment can be read without those before it.
"""

from dataclasses import dataclass, field
from typing import Any

from offwake.format.records import Comm, Exit, Fork, Mmap2
from offwake.recorder.host.namespaces import ns_pid
from offwake.recorder.host.snapshot import (
    KernelStack,
    Thread,
    cgroup_of,
    kernel_stack,
    mappings_of,
    processes,
    threads_of,
)

__all__ = ["ProcessTable"]

MANY_MAPPINGS = 4096


@dataclass
class ProcessTable:
    """Threads by tid; cgroups and executable mappings by process."""

    stack_of: KernelStack = kernel_stack
    threads: dict[int, Thread] = field(default_factory=dict)
    _mappings: dict[int, list[tuple[int, int, int, int]]] = field(default_factory=dict)
    _members: dict[int, set[int]] = field(default_factory=dict)
    _files: dict[tuple[str, bytes], int] = field(default_factory=dict)
    _known: list[tuple[str, bytes]] = field(default_factory=list)
    _cgroups: dict[int, str] = field(default_factory=dict)
    _changed: set[int] = field(default_factory=set)
    _ns_pids: dict[int, int] = field(default_factory=dict)
    _contained: list[list[int]] = field(default_factory=list)
    _born: set[int] = field(default_factory=set)

    def scan(self) -> None:
        """Read everything from /proc."""
        for pid in processes():
            for thread in threads_of(pid, self.stack_of):
                self._add(thread)
            self._cgroups[pid] = cgroup_of(pid)
            self.look_inside(pid)
            self._read_mappings(pid)

    def scan_mappings(self) -> None:
        """Read from /proc what is mapped, and nothing else."""
        for pid in processes():
            self._read_mappings(pid)

    def _read_mappings(self, pid: int) -> None:
        self._mappings[pid] = [
            (start, end, at, self._file(path, identity)) for start, end, at, path, identity in mappings_of(pid)
        ]
        self._changed.add(pid)

    def apply(self, record: Comm | Fork | Exit | Mmap2) -> None:
        """Bring the table up to date with one side-band record."""
        if isinstance(record, Mmap2):
            row = (
                record.start,
                record.start + record.length,
                record.file_offset,
                self._file(record.path, record.identity),
            )
            rows = self._mappings.setdefault(record.pid, [])
            rows.append(row)
            self._changed.add(record.pid)
            if len(rows) % MANY_MAPPINGS == 0:  # what is unmapped is not told: look what is still there
                self._read_mappings(record.pid)
        elif isinstance(record, Comm):
            if record.exec:
                self._mappings[record.pid] = []
                self._changed.add(record.pid)
                self._keep_one_thread(record)
            if record.tid in self.threads:
                self.threads[record.tid][2] = record.comm
        elif isinstance(record, Fork):
            parent = self.threads.get(record.ptid)
            self._born.add(record.tid)
            self._add([record.tid, record.pid, parent[2] if parent else "", "", -1, 0, None])
            if record.pid != record.ppid:
                self._mappings[record.pid] = list(self._mappings.get(record.ppid, ()))
                self._cgroups[record.pid] = self._cgroups.get(record.ppid, "")
                self._changed.add(record.pid)
        else:
            self.threads.pop(record.tid, None)
            members = self._members.get(record.pid, set())
            members.discard(record.tid)
            if not members:
                self._members.pop(record.pid, None)
                self._mappings.pop(record.pid, None)
                self._cgroups.pop(record.pid, None)
                self._ns_pids.pop(record.pid, None)
                self._changed.add(record.pid)

    def _keep_one_thread(self, record: Comm) -> None:
        """Follow an exec: the thread that called it is left, and has the process's id, whichever it had."""
        for tid in self._members.get(record.pid, set()) - {record.tid}:
            if self.threads[tid][1] == record.pid:  # not another's by now
                del self.threads[tid]
        self._members[record.pid] = {record.tid}
        if record.tid not in self.threads:
            self._add([record.tid, record.pid, record.comm, "", -1, 0, None])

    def look_inside(self, pid: int) -> None:
        """Find out which id a process has in a PID namespace of its own, if it is in one."""
        inner = ns_pid(pid)
        if inner is not None and self._ns_pids.get(pid) != inner:
            self._ns_pids[pid] = inner
            self._contained.append([pid, inner])

    def take_contained(self) -> list[list[int]]:
        """Return the processes, with their ids in their own PID namespace, that were found in one since the last call."""
        found, self._contained = self._contained, []
        return found

    def take_born(self) -> set[int]:
        """Return the threads that were born since the last call."""
        found, self._born = self._born, set()
        return found

    def take_changed(self) -> set[int]:
        """Return the processes whose mappings may have changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def executable(self, pid: int) -> list[tuple[int, int]]:
        """Return the start and end of a process's executable mappings; none of one that is gone."""
        return [(start, end) for start, end, *_ in self._mappings.get(pid, ())]

    def files(self, pid: int) -> list[tuple[tuple[int, int, int, int], tuple[str, bytes]]]:
        """Return a process's executable mappings (start, end, file offset, process), each with the file that it shows."""
        return [((start, end, at, pid), self._known[file]) for start, end, at, file in self._mappings.get(pid, ())]

    def age(self) -> None:
        """Forget what threads were doing when they were last looked at, and files that nobody has mapped any more."""
        for thread in self.threads.values():
            thread[3:5], thread[6] = ["", -1], None
        used = sorted({file for rows in self._mappings.values() for *_, file in rows})
        if len(used) < len(self._known) // 2:
            new = {file: number for number, file in enumerate(used)}
            self._known = [self._known[file] for file in used]
            self._files = {key: number for number, key in enumerate(self._known)}
            for pid, rows in self._mappings.items():
                self._mappings[pid] = [(start, end, at, new[file]) for start, end, at, file in rows]

    def rescan(self) -> None:
        """Begin anew: some records were lost."""
        self._changed |= set(self._mappings)
        for known in (self.threads, self._mappings, self._members, self._files, self._cgroups, self._ns_pids):
            known.clear()
        self._known.clear()
        self.scan()

    def as_values(self) -> dict[str, Any]:
        """Return the table as a keyframe holds it."""
        return {
            "threads": [list(thread) for thread in self.threads.values()],
            "files": [list(key) for key in self._files],
            "mappings": [[pid, *row] for pid, rows in self._mappings.items() for row in rows],
            "cgroups": self.cgroups(),
            "ns_pids": self.ns_pids(),
        }

    def ns_pids(self) -> list[list[int]]:
        """Return the processes that are in a PID namespace of their own, each with its id there."""
        return [[pid, inner] for pid, inner in self._ns_pids.items()]

    def cgroups(self) -> list[tuple[str, list[int]]]:
        """Return every known cgroup's path with the processes in it."""
        found: dict[str, list[int]] = {}
        for pid, path in self._cgroups.items():
            if path:
                found.setdefault(path, []).append(pid)
        return list(found.items())

    def _add(self, thread: Thread) -> None:
        self.threads[thread[0]] = thread
        self._members.setdefault(thread[1], set()).add(thread[0])

    def _file(self, path: str, identity: bytes) -> int:
        key = (path, identity)
        if key not in self._files:
            self._files[key] = len(self._known)
            self._known.append(key)
        return self._files[key]
