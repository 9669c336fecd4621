"""Which file lies at which address of which process: what turns a user address into a module and an offset.

An address space is one state of a process's mappings in which no two overlap. A process gets a new one when it forks, runs
a new program, or maps something over what was there; mappings that are merely added belong to the one it has.
"""

from bisect import bisect_right, insort
from dataclasses import dataclass, field

__all__ = ["AddressSpaces", "Mapping", "Space"]


@dataclass(frozen=True, order=True)
class Mapping:
    """Addresses `start` to `end` show a file from `offset` on. `file` is an index into `AddressSpaces.files`."""

    start: int
    end: int
    offset: int
    file: int


@dataclass
class Space:
    """Mappings of a process, sorted, none overlapping another."""

    tgid: int
    mappings: list[Mapping] = field(default_factory=list)

    def find(self, address: int) -> Mapping | None:
        """Return the mapping that an address lies in."""
        index = bisect_right(self.mappings, address, key=lambda mapping: mapping.start) - 1
        if index >= 0 and address < self.mappings[index].end:
            return self.mappings[index]
        return None

    def overlapping(self, new: Mapping) -> list[Mapping]:
        """Return the mappings that a new one would hide, wholly or partly."""
        first = bisect_right(self.mappings, new.start, key=lambda mapping: mapping.end)
        found = []
        while first < len(self.mappings) and self.mappings[first].start < new.end:
            found.append(self.mappings[first])
            first += 1
        return found


@dataclass
class AddressSpaces:
    """All spaces of a recording by id, and the one that each process has now."""

    spaces: list[Space] = field(default_factory=list)
    files: list[tuple[str, bytes]] = field(default_factory=list)
    current: dict[int, int] = field(default_factory=dict)
    _file_ids: dict[tuple[str, bytes], int] = field(default_factory=dict)

    def file(self, path: str, identity: bytes) -> int:
        """Return the id of a file."""
        key = (path, identity)
        if key not in self._file_ids:
            self._file_ids[key] = len(self.files)
            self.files.append(key)
        return self._file_ids[key]

    def add(self, tgid: int, mapping: Mapping) -> int:
        """Add a mapping to a process's space; returns the process's space from now on, a new one if it hid others."""
        space = self.spaces[self.current[tgid]] if tgid in self.current else self._new(tgid, [])
        hidden = space.overlapping(mapping)
        if hidden == [mapping]:
            return self.current[tgid]
        if hidden:
            space = self._new(tgid, [known for known in space.mappings if known not in hidden])
        insort(space.mappings, mapping)
        return self.current[tgid]

    def fork(self, parent: int, child: int) -> int:
        """Give a new process a copy of its parent's mappings; returns its space."""
        known = self.spaces[self.current[parent]].mappings if parent in self.current else []
        self._new(child, list(known))
        return self.current[child]

    def clear(self, tgid: int) -> int:
        """Give a process that runs a new program an empty space; returns it."""
        self._new(tgid, [])
        return self.current[tgid]

    def _new(self, tgid: int, mappings: list[Mapping]) -> Space:
        self.current[tgid] = len(self.spaces)
        self.spaces.append(Space(tgid, mappings))
        return self.spaces[-1]
