"""Tuples of ids, each known once and numbered: what stacks, chains and sums are grouped by.

A hash table of rows in compiled code; memory follows the distinct tuples, not what was looked at.
"""

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled

__all__ = ["Groups", "Weights", "number"]

Columns = list[NDArray[np.int32]]
_EMPTY = np.int32(-1)
_PRIME = np.uint64(0x9E3779B97F4A7C15)


class Groups:
    """Distinct rows of `width` int32 columns, numbered from 0 in the order in which they first came."""

    def __init__(self, width: int) -> None:
        self._keys = np.empty((256, width), np.int32)
        self._slots = np.full(1024, _EMPTY, np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def keys(self) -> NDArray[np.int32]:
        """The rows by number (int32, groups × width)."""
        return self._keys[: self._count]

    def ids(self, columns: Columns) -> NDArray[np.int32]:
        """Return the number of each row of columns (each of length N) as int32, N; new rows get new numbers."""
        rows = np.stack([column.astype(np.int32, copy=False) for column in columns], axis=1)
        found = np.empty(len(rows), np.int32)
        done = 0
        while done < len(rows):
            done, self._count = _number(rows, found, *self.table, (done, self._count))
            if done < len(rows):
                self.grow(self._count)
        return found

    @property
    def table(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The arrays that `number` works on, for compiled loops that add rows on their way and say so to `added`."""
        return self._keys, self._slots

    def added(self, count: int) -> None:
        """Take note that there are `count` rows now."""
        self._count = count

    def grow(self, count: int) -> None:
        """Make room, now that there are `count` rows."""
        self.added(count)
        self._keys = np.concatenate((self._keys, np.empty_like(self._keys)))
        self._slots = np.full(2 * len(self._slots), _EMPTY, np.int32)
        _place(self._keys, self._slots, count)


class Weights:
    """Nanoseconds and counts by tuples of ids."""

    def __init__(self, width: int) -> None:
        self.groups = Groups(width)
        self._sums = np.zeros((256, 2), np.int64)

    def add(self, keys: Columns, value_ns: NDArray[np.int64]) -> NDArray[np.int32]:
        """Add rows: `keys` are columns of ids, each of length N, `value_ns` their weights (int64, N).

        Returns the number of each row's group (int32, N).
        """
        ids = self.groups.ids(keys)
        while len(self._sums) < len(self.groups):
            self._sums = np.concatenate((self._sums, np.zeros_like(self._sums)))
        _add(ids, np.asarray(value_ns, np.int64), self._sums)
        return ids

    @property
    def value_ns(self) -> NDArray[np.int64]:
        """Nanoseconds by group."""
        return self._sums[: len(self.groups), 0]

    @property
    def count(self) -> NDArray[np.int64]:
        """Rows added, by group."""
        return self._sums[: len(self.groups), 1]


@compiled
def _hash(row: NDArray[np.int32]) -> np.uint64:
    value = np.uint64(len(row))
    for part in row:
        value = (value ^ np.uint64(np.uint32(part))) * _PRIME
        value ^= value >> np.uint64(32)
    return value


@compiled
def _same(left: NDArray[np.int32], right: NDArray[np.int32]) -> bool:
    for index in range(len(left)):
        if left[index] != right[index]:
            return False
    return True


@compiled
def number(row: NDArray[np.int32], keys: NDArray[np.int32], slots: NDArray[np.int32], count: int) -> int:
    """Return a row's number; `count`, the number of rows there were, if it is new. There must be room for one more."""
    mask = np.uint64(len(slots) - 1)
    slot = _hash(row) & mask
    while slots[slot] != _EMPTY:
        if _same(keys[slots[slot]], row):
            return int(slots[slot])
        slot = (slot + np.uint64(1)) & mask
    for index in range(len(row)):
        keys[count, index] = row[index]
    slots[slot] = count
    return count


@compiled
def _number(
    rows: NDArray[np.int32],
    found: NDArray[np.int32],
    keys: NDArray[np.int32],
    slots: NDArray[np.int32],
    progress: tuple[int, int],
) -> tuple[int, int]:
    """Number rows until all are done or the table is full; returns how many are done, and how many groups there are."""
    done, count = progress
    while done < len(rows) and count < len(keys):
        found[done] = number(rows[done], keys, slots, count)
        count += found[done] == count
        done += 1
    return done, count


@compiled
def _place(keys: NDArray[np.int32], slots: NDArray[np.int32], count: int) -> None:
    mask = np.uint64(len(slots) - 1)
    for group in range(count):
        slot = _hash(keys[group]) & mask
        while slots[slot] != _EMPTY:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = group


@compiled
def _add(ids: NDArray[np.int32], value_ns: NDArray[np.int64], sums: NDArray[np.int64]) -> None:
    for row in range(len(ids)):
        sums[ids[row], 0] += value_ns[row]
        sums[ids[row], 1] += 1
