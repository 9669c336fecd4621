"""Stacks made whole: the kernel part put in, and the user part unwound, once, when the mappings of its moment are known."""

from bisect import bisect_right
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.decode import Decoder, Rows
from offwake.analyzer.stacks import NO_STACK, NOT_ELSEWHERE, StackTable
from offwake.analyzer.unwind import End, Unwinder

__all__ = ["WholeStacks"]

NOT_YET = -2
NO_SPACE = -1


class WholeStacks:
    """Replaces stacks as they were decoded by whole ones. `ended` says of those that were unwound where that ended."""

    def __init__(self, stacks: StackTable, decoder: Decoder, unwinder: Unwinder) -> None:
        self.ended: dict[int, End] = {}
        self.unwinder = unwinder
        self._stacks, self._kernel, self._user = stacks, decoder.kernel_stacks, decoder.user_stacks
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
        """Take up the stacks that are new; those without a part that is elsewhere are whole as they are."""
        fresh = np.arange(len(self._whole), len(self._stacks), dtype=np.int32)
        refers = (self._stacks.user_stacks(fresh) & self._stacks.kernel_stacks(fresh)) != NOT_ELSEWHERE
        self._whole = np.concatenate((self._whole, np.where(refers, np.int32(NOT_YET), fresh)))
        more = len(self._user) - len(self._chains)
        self._chains = np.concatenate((self._chains, np.full(more, NOT_YET, np.int32)))
        self._ends = np.concatenate((self._ends, np.full(more, End.LOST, np.uint8)))

    def _look_again(self) -> None:
        """What was missing (the segment that brought it was cut off) may have been sent again since."""
        if self._lost:
            lost = np.array(self._lost, np.int32)
            self._whole[lost[~self._lacks(lost)]] = NOT_YET
            self._lost = lost[self._whole[lost] != NOT_YET].tolist()

    def _lacks(self, stacks: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Tell of which stacks a part has not come."""
        kernel, user = self._stacks.kernel_stacks(stacks), self._stacks.user_stacks(stacks)
        lacks = np.zeros(len(stacks), np.bool_)
        has_kernel, has_user = kernel != NOT_ELSEWHERE, user != NOT_ELSEWHERE
        lacks[has_kernel] = self._kernel.chain[kernel[has_kernel]] == NO_STACK
        mine = user[has_user]
        lacks[has_user] |= (self._user.length[mine] < 0) & (self._chains[mine] == NOT_YET)
        return lacks

    def _make_whole(self, stacks: NDArray[np.int32], time_ns: NDArray[np.int64]) -> None:
        kernel, user = self._stacks.kernel_stacks(stacks), self._stacks.user_stacks(stacks)
        has_kernel, has_user = kernel != NOT_ELSEWHERE, user != NOT_ELSEWHERE
        kernel_chains, user_chains = np.full((2, len(stacks)), NO_STACK, np.int32)
        kernel_chains[has_kernel] = self._kernel.chain[kernel[has_kernel]]
        if has_user.any():
            self._unwind(user[has_user], time_ns[has_user])
            user_chains[has_user] = self._chains[user[has_user]]
        user_chains[user_chains == NOT_YET] = NO_STACK
        whole = self._stacks.completed(stacks, kernel_chains, user_chains)
        whole = np.where(whole == NO_STACK, stacks, whole).astype(np.int32)  # nothing of it is here
        self._extend()
        self._whole[stacks] = whole
        lacks = self._lacks(stacks)
        self._lost += stacks[lacks].tolist()
        ends = np.where(lacks[has_user], End.LOST, self._ends[user[has_user]])
        self.ended |= zip(whole[has_user].tolist(), map(End, ends.tolist()), strict=True)

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
