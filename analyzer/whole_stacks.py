"""Stacks made whole: the user part of each unwound once, when the mappings of its moment are known."""

from bisect import bisect_right
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.decode import Rows
from offwake.analyzer.stacks import NO_USER_STACK, StackTable
from offwake.analyzer.unwind import End, Unwinder
from offwake.analyzer.user_stacks import UserStacks

__all__ = ["WholeStacks"]

NOT_YET = -2
NO_SPACE = -1


class WholeStacks:
    """Replaces stacks as they were decoded by whole ones. `ended` says of those that were unwound where that ended."""

    def __init__(self, stacks: StackTable, user: UserStacks, unwinder: Unwinder) -> None:
        self.ended: dict[int, End] = {}
        self.unwinder = unwinder
        self._stacks, self._user = stacks, user
        self._whole = np.empty(0, np.int32)
        self._lost: list[int] = []
        self._moves: dict[int, list[tuple[int, int]]] = defaultdict(list)

    def moved(self, time_ns: int, tgid: int, space: int) -> None:
        """Say that a process has another address space from a time on; times of a process come in their order."""
        self._moves[tgid].append((time_ns, space))

    def complete(self, rows: Rows) -> Rows:
        """Return the rows with whole stacks. What is mapped at their times must be known."""
        if not len(rows) or rows.stack.max() < 0:
            return rows
        self._extend(len(self._stacks))
        self._look_again()
        has_stack = rows.stack >= 0
        distinct, first = np.unique(rows.stack[has_stack], return_index=True)
        fresh = self._whole[distinct] == NOT_YET
        if fresh.any():
            self._unwind(distinct[fresh], rows.time_ns[has_stack][first[fresh]])
        stack = np.where(has_stack, self._whole[rows.stack], rows.stack)
        return Rows(rows.time_ns, rows.cpu, stack, rows.payload)

    def _extend(self, count: int) -> None:
        """Take up the stacks that are new; those without a user part to unwind are whole as they are."""
        fresh = np.arange(len(self._whole), count, dtype=np.int32)
        refers = self._stacks.user_stacks(fresh) != NO_USER_STACK
        self._whole = np.concatenate((self._whole, np.where(refers, np.int32(NOT_YET), fresh)))

    def _look_again(self) -> None:
        """Words that were missing (the segment that brought them was cut off) may have been sent again since."""
        if self._lost:
            lost = np.array(self._lost, np.int32)
            self._whole[lost[self._user.length[self._stacks.user_stacks(lost)] >= 0]] = NOT_YET
            self._lost = lost[self._whole[lost] != NOT_YET].tolist()

    def _unwind(self, stacks: NDArray[np.int32], time_ns: NDArray[np.int64]) -> None:
        user = self._stacks.user_stacks(stacks)
        tgids = self._user.tgid[user].tolist()
        spaces = np.array([self.space_at(*at) for at in zip(tgids, time_ns.tolist(), strict=True)], np.int32)
        for space in np.unique(spaces).tolist():
            mine = np.flatnonzero(spaces == space)
            addresses, ends, why = self.unwinder.unwind(self._user, user[mine], space)
            whole = self._stacks.completed(stacks[mine], addresses, ends)
            self._extend(len(self._stacks))
            self._whole[stacks[mine]] = whole
            self._lost += stacks[mine][why == End.LOST].tolist()
            self.ended |= zip(whole.tolist(), map(End, why.tolist()), strict=True)

    def space_at(self, tgid: int, time_ns: int) -> int:
        """Return the address space that a process had at a time, NO_SPACE where none is known."""
        moves = self._moves.get(tgid)
        if not moves:
            return NO_SPACE
        return moves[max(bisect_right(moves, time_ns, key=lambda move: move[0]) - 1, 0)][1]
