"""Stacks made whole: the user part of each unwound once, when the mappings of its moment are known."""

from bisect import bisect_right
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.decode import Rows
from offwake.analyzer.stacks import NO_STACK, NO_USER_STACK, StackTable
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
        self._whole = np.empty(0, np.int32)  # by stack
        self._chains = np.empty(0, np.int32)  # by user stack: the id of its addresses alone
        self._ends = np.empty(0, np.uint8)
        self._lost: list[int] = []
        self._moves: dict[int, list[tuple[int, int]]] = defaultdict(list)

    def moved(self, time_ns: int, tgid: int, space: int) -> None:
        """Say that a process has another address space from a time on; times of a process come in their order."""
        self._moves[tgid].append((time_ns, space))

    def complete(self, rows: Rows) -> Rows:
        """Return the rows with whole stacks. What is mapped at their times must be known."""
        if not len(rows) or rows.stack.max() < 0:
            return rows
        self._extend()
        self._look_again()
        has_stack = rows.stack >= 0
        distinct, first = np.unique(rows.stack[has_stack], return_index=True)
        fresh = self._whole[distinct] == NOT_YET
        if fresh.any():
            self._make_whole(distinct[fresh], rows.time_ns[has_stack][first[fresh]])
        stack = np.where(has_stack, self._whole[rows.stack], rows.stack)
        return Rows(rows.time_ns, rows.cpu, stack, rows.payload)

    def forget(self) -> None:
        """Let go of the words of stacks that have been unwound."""
        unwound = np.flatnonzero((self._chains != NOT_YET) & (self._user.length[: len(self._chains)] >= 0))
        self._user.forget(unwound.astype(np.int32))

    def space_at(self, tgid: int, time_ns: int) -> int:
        """Return the address space that a process had at a time, NO_SPACE where none is known."""
        moves = self._moves.get(tgid)
        if not moves:
            return NO_SPACE
        return moves[max(bisect_right(moves, time_ns, key=lambda move: move[0]) - 1, 0)][1]

    def _extend(self) -> None:
        """Take up the stacks that are new; those without a user part to unwind are whole as they are."""
        fresh = np.arange(len(self._whole), len(self._stacks), dtype=np.int32)
        refers = self._stacks.user_stacks(fresh) != NO_USER_STACK
        self._whole = np.concatenate((self._whole, np.where(refers, np.int32(NOT_YET), fresh)))
        more = len(self._user) - len(self._chains)
        self._chains = np.concatenate((self._chains, np.full(more, NOT_YET, np.int32)))
        self._ends = np.concatenate((self._ends, np.full(more, End.LOST, np.uint8)))

    def _look_again(self) -> None:
        """Words that were missing (the segment that brought them was cut off) may have been sent again since."""
        if self._lost:
            lost = np.array(self._lost, np.int32)
            self._whole[lost[self._user.length[self._stacks.user_stacks(lost)] >= 0]] = NOT_YET
            self._lost = lost[self._whole[lost] != NOT_YET].tolist()

    def _make_whole(self, stacks: NDArray[np.int32], time_ns: NDArray[np.int64]) -> None:
        user = self._stacks.user_stacks(stacks)
        self._unwind(user, time_ns)
        chains = self._chains[user]
        whole = self._stacks.completed(stacks, np.where(chains == NOT_YET, np.int32(NO_STACK), chains))
        self._extend()
        self._whole[stacks] = whole
        self._lost += stacks[chains == NOT_YET].tolist()
        self.ended |= zip(whole.tolist(), map(End, self._ends[user].tolist()), strict=True)

    def _unwind(self, user: NDArray[np.int32], time_ns: NDArray[np.int64]) -> None:
        """Unwind those of the user stacks that have not been, and whose words are here."""
        numbers, first = np.unique(user, return_index=True)
        fresh = (self._chains[numbers] == NOT_YET) & (self._user.length[numbers] >= 0)
        numbers, time_ns = numbers[fresh], time_ns[first[fresh]]
        at = zip(self._user.tgid[numbers].tolist(), time_ns.tolist(), strict=True)
        spaces = np.array([self.space_at(tgid, when) for tgid, when in at], np.int32)
        for space in np.unique(spaces).tolist():
            mine = numbers[spaces == space]
            addresses, ends, why = self.unwinder.unwind(self._user, mine, space)
            self._chains[mine] = self._stacks.add(addresses, ends)
            self._ends[mine] = why
