"""What every thread did at every moment, to be looked up by time: the ground on which chains walk.

A life is a row of pieces without gaps, each from the end of the one before it: running, in the run queue, preempted,
blocked, unknown. Memory follows the recording's switches, about 50 bytes for each.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.groups import Groups
from offwake.analyzer.intervals import BLOCKED, NEW, PREEMPTED, UNKNOWN
from offwake.analyzer.replay import Batch, Replay
from offwake.analyzer.wakers import WAKER_WIDTH, waker_columns

__all__ = [
    "DOING_BLOCKED",
    "DOING_PREEMPTED",
    "DOING_RUNNING",
    "DOING_UNKNOWN",
    "DOING_WAITING",
    "NO_HOP",
    "Lives",
    "LivesBuilder",
]

DOING_RUNNING, DOING_WAITING, DOING_PREEMPTED, DOING_UNKNOWN, DOING_BLOCKED = range(5)
NO_HOP = -1

_PIECE = np.dtype([("end_ns", "i8"), ("thread", "i4"), ("doing", "i4"), ("hop", "i4"), ("waker", "i4")], align=True)


@dataclass(frozen=True)
class Lives:
    """The lives of all threads of a recording.

    The pieces of thread `t` are `first[t]:first[t + 1]`, in the order of time. `begin_ns[t]` is where the first one begins;
    if the thread was born there, `birth[t]` is the hop to who made it, the thread `parent[t]`.
    A piece has its `end_ns`, what the thread was `doing`, and if blocked, the `hop` that ended it and its `waker` thread.
    """

    first: NDArray[np.int64]
    begin_ns: NDArray[np.int64]
    birth: NDArray[np.int32]
    parent: NDArray[np.int32]
    end_ns: NDArray[np.int64]
    doing: NDArray[np.int32]
    hop: NDArray[np.int32]
    waker: NDArray[np.int32]


class LivesBuilder:
    """Gathers lives from the batches of a pass. `hops` are who ended waits, see wakers.py."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self.hops = Groups(WAKER_WIDTH)
        self._parts: list[NDArray[np.void]] = []
        self._births: list[tuple[NDArray[np.int32], ...]] = []

    def feed(self, batch: Batch) -> None:
        """Take a batch's intervals and slices."""
        rows = batch.activity.intervals
        kind, thread = rows["kind"], rows["thread"]
        blocked = (kind == BLOCKED) & (rows["wake_ns"] > rows["begin_ns"])
        queued = ((kind == BLOCKED) | (kind == NEW)) & (rows["end_ns"] > rows["wake_ns"])
        waits = rows[blocked]
        self._add(waits["thread"], waits["wake_ns"], DOING_BLOCKED, self.hops_of(waits), waits["waker"])
        for which, doing in (
            (queued, DOING_WAITING),
            ((kind == PREEMPTED) & (rows["end_ns"] > rows["begin_ns"]), DOING_PREEMPTED),
            ((kind == UNKNOWN) & (rows["end_ns"] > rows["begin_ns"]), DOING_UNKNOWN),
        ):
            self._add(thread[which], rows["end_ns"][which], doing)
        slices = batch.activity.slices
        slices = slices[slices["end_ns"] > slices["begin_ns"]]
        self._add(slices["thread"], slices["end_ns"], DOING_RUNNING)
        born = rows[kind == NEW]
        if len(born):
            self._births.append((born["thread"], self.hops_of(born), born["waker"]))

    def hops_of(self, rows: NDArray[np.void]) -> NDArray[np.int32]:
        """Return the number of the hop that ended each interval (int32, N)."""
        return self.hops.ids(waker_columns(rows))

    def lives(self) -> Lives:
        """Return the lives; the pass must be complete."""
        pieces = np.concatenate(self._parts) if self._parts else np.empty(0, _PIECE)
        self._parts = []
        order = np.lexsort((pieces["end_ns"], pieces["thread"]))
        threads = self._replay.timeline.threads[: self._replay.timeline.thread_count]
        birth, parent = np.full(len(threads), NO_HOP, np.int32), np.full(len(threads), NO_HOP, np.int32)
        for thread, hop, waker in self._births:
            birth[thread], parent[thread] = hop, waker
        return Lives(
            first=np.searchsorted(pieces["thread"][order], np.arange(len(threads) + 1)).astype(np.int64),
            begin_ns=threads["born_ns"].copy(),
            birth=birth,
            parent=parent,
            end_ns=pieces["end_ns"][order],
            doing=pieces["doing"][order],
            hop=pieces["hop"][order],
            waker=pieces["waker"][order],
        )

    def _add(
        self,
        thread: NDArray[np.int32],
        end_ns: NDArray[np.int64],
        doing: int,
        hop: NDArray[np.int32] | int = NO_HOP,
        waker: NDArray[np.int32] | int = NO_HOP,
    ) -> None:
        pieces = np.empty(len(thread), _PIECE)
        pieces["thread"], pieces["end_ns"], pieces["doing"], pieces["hop"] = thread, end_ns, doing, hop
        pieces["waker"] = waker
        self._parts.append(pieces)
