"""Time slices: what stacks weighed in each of some equal parts of the selected time.

How much a recording varies by itself is seen by them. Whatever spans several slices is shared among them by time: the slices
of a stack add up to what it weighs, to the nanosecond.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.groups import Weights

__all__ = ["NOTHING", "OverTime", "Pieces", "Slices", "Summed"]

Frames = tuple[str, ...]
Numbers = NDArray[np.int64]
Ids = NDArray[np.int32]


class Pieces(NamedTuple):
    """Parts of rows, cut at the ends of slices: of which row (int64), in which slice (int32), from when to when (int64)."""

    row: Numbers
    slice: Ids
    begin_ns: Numbers
    end_ns: Numbers


@dataclass(frozen=True)
class Slices:
    """`count` equal slices of the time from `begin_ns` to `end_ns` (CLOCK_MONOTONIC).

    With `whole` nothing is cut: what ended in a slice belongs to it.
    """

    begin_ns: int
    end_ns: int
    count: int = 1
    whole: bool = False

    def of(self, moments_ns: Numbers) -> Ids:
        """Return the slice of each moment (int32, N); the first and the last one reach beyond the time."""
        found = np.searchsorted(self._edges[1:-1], moments_ns, side="right")
        return np.asarray(found, np.int32)

    def pieces(self, begin_ns: Numbers, end_ns: Numbers) -> Pieces:
        """Cut stretches of time (int64, N each), which must lie within the time unless they are to stay whole."""
        places = np.arange(len(begin_ns))
        if self.count == 1 or self.whole:
            return Pieces(places, self.of(end_ns - 1), begin_ns, end_ns)
        first = self.of(begin_ns)
        spans = np.maximum(self.of(end_ns - 1) - first, 0) + 1
        row = np.repeat(places, spans)
        number = (np.arange(len(row)) - np.repeat(np.cumsum(spans) - spans - first, spans)).astype(np.int32)
        return Pieces(
            row,
            number,
            np.maximum(begin_ns[row], np.where(number > first[row], self._edges[number], begin_ns[row])),
            np.where(number < first[row] + spans[row] - 1, self._edges[number + 1], end_ns[row]),
        )

    def cut(self, rows: NDArray[np.void]) -> tuple[NDArray[np.void], Ids]:
        """Cut rows with `begin_ns`, `end_ns` and perhaps `wake_ns`; returns the parts, and the slice of each."""
        parts = self.pieces(rows["begin_ns"], rows["end_ns"])
        if len(parts.row) == len(rows):
            return rows, parts.slice
        cut = rows[parts.row]
        if "wake_ns" in (rows.dtype.names or ()):
            cut["wake_ns"] = np.clip(cut["wake_ns"], parts.begin_ns, parts.end_ns)
        cut["begin_ns"], cut["end_ns"] = parts.begin_ns, parts.end_ns
        return cut, parts.slice

    @property
    def _edges(self) -> Numbers:
        return self.begin_ns + np.arange(self.count + 1) * (self.end_ns - self.begin_ns) // self.count


class Summed:
    """Adds up nanoseconds by group and slice. Of a single slice nothing is kept: the groups' own sums say it."""

    def __init__(self, slices: Slices) -> None:
        self._cells = Weights(2) if slices.count > 1 else None

    def add(self, groups: Ids, slices: Ids, value_ns: Numbers) -> None:
        """Add rows (N each)."""
        if self._cells:
            self._cells.add([groups, slices], value_ns)

    def named(self, stacks: list[Frames]) -> "OverTime":
        """Return what was added, the groups being these stacks."""
        if not self._cells:
            return NOTHING
        stack, number = self._cells.groups.keys.T
        return OverTime(stacks, stack.copy(), number.copy(), self._cells.value_ns.copy())


@dataclass(frozen=True)
class OverTime:
    """What stacks weighed in slices: cell i is of `stacks[stack[i]]`, in slice `slice[i]`, and `value_ns[i]` large.

    Cells that are missing are 0. A stack may be listed more than once; then its cells are added up.
    """

    stacks: list[Frames]
    stack: Ids
    slice: Ids
    value_ns: Numbers

    def only(self, kept: Container[Frames]) -> "OverTime":
        """Return what some of the stacks weighed."""
        if not self.stacks:
            return self
        mine = np.array([stack in kept for stack in self.stacks], np.bool_)[self.stack]
        return replace(self, stack=self.stack[mine], slice=self.slice[mine], value_ns=self.value_ns[mine])

    def called(self, names: Callable[[Frames], Frames]) -> "OverTime":
        """Return the same with every stack called something else."""
        return replace(self, stacks=[names(stack) for stack in self.stacks])

    def __add__(self, other: "OverTime") -> "OverTime":
        return OverTime(
            self.stacks + other.stacks,
            np.concatenate((self.stack, other.stack + np.int32(len(self.stacks)))),
            np.concatenate((self.slice, other.slice)),
            np.concatenate((self.value_ns, other.value_ns)),
        )


NOTHING = OverTime([], np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64))
