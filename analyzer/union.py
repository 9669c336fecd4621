"""The union of two profiles' stacks as a tree of frames: each frame is a range of stacks, so sums are differences of sums.

Stacks are in the order of their frames, and frames are numbered as those of a `FrameTree` of these stacks are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.render.tree import ROOT, Merged, merged

__all__ = ["Union"]

Stack = tuple[str, ...]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Union:
    """N stacks (sorted by frames), and the M frames of their tree, `tree`, the first one the root `all`.

    Frame m is in the stacks from `first[m]` to `end[m]`.
    """

    stacks: list[Stack]
    tree: Merged
    first: Numbers
    end: Numbers

    @staticmethod
    def of(stacks: Iterable[Stack]) -> "Union":
        """Make the tree of these stacks."""
        found = list(dict.fromkeys(stacks))
        tree = merged(ROOT, found)
        first, end = (np.searchsorted(tree.leaf, rows) for rows in (np.arange(len(tree.depth)), tree.end))
        ordered = [found[place] for place in tree.order.tolist()]
        return Union(ordered, tree._replace(order=np.arange(len(found))), first, end)

    @property
    def leaf(self) -> Numbers:
        """The frame in which each stack ends."""
        return self.tree.leaf

    @cached_property
    def rows(self) -> dict[Stack, int]:
        """The number of each stack."""
        return {stack: row for row, stack in enumerate(self.stacks)}

    def totals(self, by_stack: Numbers) -> Numbers:
        """Return what frames weigh together with all above them (int64, M), by what stacks weigh (int64, N)."""
        sums = np.concatenate(([0], np.cumsum(by_stack)))
        return np.asarray(sums[self.end] - sums[self.first])

    def selves(self, by_stack: Numbers) -> Numbers:
        """Return what frames weigh without what is above them (int64, M)."""
        found = np.zeros(len(self.first), np.int64)
        found[self.leaf] = by_stack
        return found

    def path(self, frame: int) -> Stack:
        """Return the names from below the root to a frame."""
        return self.stacks[int(self.first[frame])][: int(self.tree.depth[frame])] if frame else ()
