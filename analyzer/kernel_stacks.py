"""Kernel stacks by the ids that events name them by: the call chain comes with the first event of a segment that has it."""

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.stacks import NO_STACK, NOT_ELSEWHERE, Chains, StackTable

__all__ = ["KernelStacks"]


class KernelStacks:
    """All distinct kernel stacks seen so far, each by a number.

    `chain[i]` (int32) is the id of its addresses in the table of stacks, NO_STACK until the event that brings them has come.
    """

    def __init__(self, stacks: StackTable) -> None:
        self.chain = np.zeros(0, np.int32)
        self.ids: list[int] = []
        self._numbers: dict[int, int] = {}
        self._stacks = stacks

    def take(self, ids: NDArray[np.uint64], chains: Chains) -> NDArray[np.int32]:
        """Return the numbers (int32, N) of the stacks with these ids, NOT_ELSEWHERE for 0; keep the chains that came."""
        distinct, which = np.unique(ids, return_inverse=True)
        numbers = np.array([self._number(its) for its in distinct.tolist()], np.int32)[which.reshape(-1)]
        self.chain = np.concatenate((self.chain, np.full(len(self.ids) - len(self.chain), NO_STACK, np.int32)))
        brings = np.flatnonzero((chains.length > 0) & (ids != 0))
        fresh = brings[self.chain[numbers[brings]] == NO_STACK]
        if len(fresh):
            self.chain[numbers[fresh]] = self._stacks.intern(chains.some(fresh))
        return numbers

    def _number(self, its_id: int) -> int:
        if not its_id:
            return NOT_ELSEWHERE
        if its_id not in self._numbers:
            self._numbers[its_id] = len(self.ids)
            self.ids.append(its_id)
        return self._numbers[its_id]
