"""What each CPU did lately: who ran while a thread waited for it, or whether nobody did.

The CPU that a thread waited for is the one that it then came on. All that this CPU ran before has ended by then, so one
pass is enough. About ten million slices are remembered, shared among the CPUs: memory does not follow the file, and yet
whoever starved a thread for many seconds is named.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled
from offwake.analyzer.intervals import NEVER, PREEMPTED

__all__ = ["FORGOTTEN", "NOBODY", "OPEN", "STRANGER", "Cpus", "runnable_ns"]

NOBODY = -2
"""The CPU was idle; or it ran something that nobody knows of, because events were lost."""
OPEN = -3
"""The thread still waited when the recording ended: for which CPU, nobody knows."""
FORGOTTEN = -4
"""It waited for longer than the CPU's history reaches back."""

STRANGER = -5
"""The recording was narrowed and does not say what the CPU ran, if anything."""

KEPT = 10_000_000  # slices of all CPUs: 240 MB at most
ROOM = 1 << 15  # stretches that are handed out at a time

Stretches = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]
_SPELL = np.dtype([("begin_ns", "i8"), ("end_ns", "i8"), ("name", "i4")], align=True)


class Cpus:
    """The latest slices of each CPU. Feed it a batch's slices, all of them and uncut, before asking about its intervals.

    With `members_only` slices are of some threads alone, and a CPU without one is not idle.
    """

    def __init__(self, cpus: int, members_only: bool) -> None:
        self._members_only = members_only
        length = 1 << (KEPT // cpus).bit_length() - 1
        self._spells = np.empty((cpus, length), _SPELL)  # rings; what is not used yet takes no memory
        self._counts = np.zeros(cpus, np.int64)

    def feed(self, slices: NDArray[np.void]) -> None:
        """Remember slices (SLICE, in the order in which they ended)."""
        _remember(slices, self._spells, self._counts)

    def meanwhile(self, intervals: NDArray[np.void]) -> Iterator[Stretches]:
        """Cut the time that intervals (INTERVAL, N) waited for a CPU by who ran there.

        Yields, a chunk at a time, stretches in the order of time: the interval's place (int64), who ran (int32: the name
        that the slice carries, −1 for no name, NOBODY, OPEN, FORGOTTEN or STRANGER), for how long (int64, ns, never 0).
        The stretches of an interval add up to its `runnable_ns`. A chunk is overwritten by the next.
        """
        out = (np.empty(ROOM, np.int64), np.empty(ROOM, np.int32), np.empty(ROOM, np.int64))
        row, at_ns = 0, 0
        while row < len(intervals):
            row, at_ns, count = _meanwhile(intervals, (row, at_ns), self._spells, self._counts, out)
            if self._members_only:
                out[1][:count][out[1][:count] == NOBODY] = STRANGER
            yield out[0][:count], out[1][:count], out[2][:count]

    def queued_ns(self, intervals: NDArray[np.void]) -> NDArray[np.int64]:
        """Return how long each interval (INTERVAL, N) waited while its CPU ran another thread (int64, N).

        The rest of its `runnable_ns` is what waking an idle CPU took. All of a wait that is open counts.
        """
        found = np.zeros(len(intervals), np.int64)
        for row, who, value_ns in self.meanwhile(intervals):
            ran = who != NOBODY
            np.add.at(found, row[ran], value_ns[ran])
        return found


def runnable_ns(intervals: NDArray[np.void]) -> NDArray[np.int64]:
    """Return how long each interval (INTERVAL, N) waited for a CPU, in the run queue or preempted (int64, N)."""
    preempted = intervals["kind"] == PREEMPTED
    return np.asarray(intervals["end_ns"] - np.where(preempted, intervals["begin_ns"], intervals["wake_ns"]))


@compiled
def _remember(slices: NDArray[np.void], spells: NDArray[np.void], counts: NDArray[np.int64]) -> None:
    mask = spells.shape[1] - 1
    for one in slices:
        spell = spells[one.cpu, counts[one.cpu] & mask]
        spell.begin_ns, spell.end_ns, spell.name = one.begin_ns, one.end_ns, one.name
        counts[one.cpu] += 1


@compiled
def _first_after(spells: NDArray[np.void], low: int, high: int, time_ns: int) -> int:
    """Return the first of the spells from `low` to `high` that ends after a moment."""
    mask = len(spells) - 1
    while low < high:
        middle = (low + high) // 2
        if spells[middle & mask].end_ns > time_ns:
            high = middle
        else:
            low = middle + 1
    return low


@compiled
def _meanwhile(
    intervals: NDArray[np.void],
    progress: tuple[int, int],
    spells: NDArray[np.void],
    counts: NDArray[np.int64],
    out: Stretches,
) -> tuple[int, int, int]:
    """Cut until all is done or `out` is full; returns which interval is next, from when on, and how much is in `out`."""
    (row, at_ns), count = progress, 0
    length = spells.shape[1]
    while row < len(intervals):
        one = intervals[row]
        at_ns = max(at_ns, one.begin_ns if one.kind == PREEMPTED else one.wake_ns)
        known = counts[one.cpu] if one.cpu != NEVER else 0
        oldest = max(known - length, 0)
        place = _first_after(spells[one.cpu], oldest, known, at_ns) if at_ns < one.end_ns else known
        while at_ns < one.end_ns:
            if count == len(out[0]):
                return row, at_ns, count
            who, until_ns = NOBODY if one.cpu != NEVER else OPEN, one.end_ns
            if place < known:
                spell = spells[one.cpu, place & (length - 1)]
                if spell.begin_ns <= at_ns:
                    who, until_ns = spell.name, min(spell.end_ns, until_ns)
                    place += 1
                else:
                    who, until_ns = FORGOTTEN if 0 < oldest == place else NOBODY, min(spell.begin_ns, until_ns)
            if until_ns > at_ns:
                out[0][count], out[1][count], out[2][count] = row, who, until_ns - at_ns
                count += 1
                at_ns = until_ns
        row, at_ns = row + 1, 0
    return row, at_ns, count
