"""Call chains, each kept once: a stack is an id until it is shown.

A chain is 64-bit addresses, leaf first: kernel addresses (the upper half), then user addresses. Marks of context and the
recorder's own frames are left out. A chain whose user part is still to be unwound ends in a reference to it; one whose
kernel part came with another event begins with a reference to that.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled

__all__ = ["NO_STACK", "NOT_ELSEWHERE", "SNAPSHOT_STACKS", "Chains", "StackTable"]

NO_STACK = -1
NOT_ELSEWHERE = -1
"""In place of a number: this part of the chain is not had by a reference."""
SNAPSHOT_STACKS = -3
"""Stack ids from here down are stacks of the snapshot: id −3 − i is `Replay.snapshot_stacks[i]`."""
KERNEL = np.uint64(0xFFFF_8000_0000_0000)
_CONTEXTS = np.uint64((1 << 64) - 4095)
_REFERENCE, _TO_KERNEL = np.uint64(1 << 63), np.uint64(1 << 62)
"""A reference is the first, for a kernel stack the second too, and the stack's number. Nothing below KERNEL has the first
bit, but frames walked into by mistake."""
_MISTAKEN = np.uint64(1 << 61)
Words = NDArray[np.uint64]
Pool = tuple[NDArray[np.int32], Words, NDArray[np.int64], NDArray[np.int32]]
_SEED, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Chains:
    """Call chains of a span of events: event i has `length[i]` words from `start[i]`, of which `skip[i]` kernel frames
    are the recorder's. `words` is the span as uint64. `kernel[i]` numbers the kernel stack that stands for them, if any, and
    `user[i]` the user stack that goes on (int32)."""

    words: NDArray[np.uint64]
    start: NDArray[np.int64]
    length: NDArray[np.int32]
    skip: NDArray[np.int32]
    kernel: NDArray[np.int32]
    user: NDArray[np.int32]

    def some(self, which: NDArray[np.intp]) -> "Chains":
        """Return some of the chains."""
        columns = self.start[which], self.length[which], self.skip[which], self.kernel[which], self.user[which]
        return Chains(self.words, *columns)


class StackTable:
    """All distinct chains seen so far."""

    def __init__(self) -> None:
        self._words = np.empty(1 << 16, np.uint64)
        self._ends = np.zeros(1 << 12, np.int64)  # stack i is words[ends[i]:ends[i + 1]]
        self._slots = np.full(1 << 13, NO_STACK, np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def intern(self, chains: Chains) -> NDArray[np.int32]:
        """Return the id of each chain (int32, N), NO_STACK for an empty one."""
        ids = np.full(len(chains.start), NO_STACK, np.int32)
        done = 0
        while done < len(ids):
            done, self._count = _intern(
                chains.words,
                chains.start,
                chains.length,
                (chains.skip, chains.kernel, chains.user),
                (ids, self._words, self._ends, self._slots),
                done,
                self._count,
            )
            if done < len(ids):
                self._grow()
        return ids

    def addresses(self, stack: int) -> list[int]:
        """Return a stack's addresses, leaf first, as far as they are here."""
        words: list[int] = self._words[self._ends[stack] : self._ends[stack + 1]].tolist()
        return [word for word in words if not int(_REFERENCE) <= word < int(KERNEL)]

    def user_stacks(self, stacks: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
        """Return the numbers of the user stacks (int32, N) in which stacks go on, NOT_ELSEWHERE where they do not."""
        return _referred(self._words[self._ends[stacks + 1] - 1], _REFERENCE)

    def kernel_stacks(self, stacks: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
        """Return the numbers of the kernel stacks (int32, N) with which stacks begin, NOT_ELSEWHERE where they do not."""
        return _referred(self._words[self._ends[stacks]], _REFERENCE | _TO_KERNEL)

    def add(self, addresses: Words, ends: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the ids of chains (N) of addresses alone: `addresses[ends[i] : ends[i + 1]]`."""
        nothing = np.zeros(len(ends) - 1, np.int32)
        lengths = np.diff(ends).astype(np.int32)
        elsewhere = nothing + NOT_ELSEWHERE
        return self.intern(Chains(addresses, ends[:-1], lengths, nothing, elsewhere, elsewhere))

    def completed(
        self, stacks: NDArray[np.integer[Any]], kernel: NDArray[np.int32], user: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Return the ids of stacks (N) whose references are replaced by chains, given by ids (NO_STACK: by nothing)."""
        begin = self._ends[stacks] + (self.kernel_stacks(stacks) != NOT_ELSEWHERE)
        stop = self._ends[stacks + 1] - (self.user_stacks(stacks) != NOT_ELSEWHERE)
        parts = (self._places(kernel), (begin, np.maximum(begin, stop)), self._places(user))
        lengths = sum(part_stop - part_begin for part_begin, part_stop in parts)
        ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
        words = np.empty(int(ends[-1]), np.uint64)
        _join(self._words, parts, (words, ends))
        return self.add(words, ends)

    def _places(self, stacks: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        has_stack = stacks != NO_STACK
        return np.where(has_stack, self._ends[stacks], 0), np.where(has_stack, self._ends[stacks + 1], 0)

    def _grow(self) -> None:
        self._words = np.concatenate((self._words, np.empty_like(self._words)))
        self._ends = np.concatenate((self._ends, np.zeros_like(self._ends)))
        self._slots = np.full(2 * len(self._slots), NO_STACK, np.int32)
        _rehash(self._words, self._ends, self._slots, self._count)


def _referred(words: Words, mark: np.uint64) -> NDArray[np.int32]:
    """Return the numbers in references of one kind, NOT_ELSEWHERE for other words."""
    refers = (words < KERNEL) & (words & (_REFERENCE | _TO_KERNEL) == mark)
    numbers = np.where(refers, words & ~mark, np.uint64(0)).astype(np.int32)
    return np.where(refers, numbers, np.int32(NOT_ELSEWHERE))


@compiled
def _hash(words: Words, begin: int, end: int) -> np.uint64:
    value = _SEED
    for index in range(begin, end):
        value = (value ^ words[index]) * _PRIME
        value ^= value >> np.uint64(29)
    return value


@compiled
def _intern(
    words: Words,
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    beside: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]],
    table: Pool,
    done: int,
    count: int,
) -> tuple[int, int]:
    """Intern chains from `done` on; stops early when the table is full. Returns how many are done, and the new count."""
    ids, pool, ends, slots = table
    skips, kernels, users = beside
    mask = np.uint64(len(slots) - 1)
    while done < len(starts):
        begin = ends[count]
        if begin + lengths[done] + 2 > len(pool) or count + 2 > len(ends) or 2 * (count + 1) > len(slots):
            return done, count
        end, skip = begin, skips[done]
        if kernels[done] >= 0:
            pool[end] = _REFERENCE | _TO_KERNEL | np.uint64(kernels[done])
            end += 1
        for at in range(starts[done], starts[done] + lengths[done]):
            word = words[at]
            if word >= _CONTEXTS:
                continue
            if skip and word >= KERNEL:
                skip -= 1
                continue
            pool[end] = word if word >= KERNEL or word < _REFERENCE else _MISTAKEN
            end += 1
        if users[done] >= 0:
            pool[end] = _REFERENCE | np.uint64(users[done])
            end += 1
        if end > begin:
            slot = _hash(pool, begin, end) & mask
            while True:
                known = slots[slot]
                if known == NO_STACK:
                    slots[slot] = known = count
                    count += 1
                    ends[count] = end
                    break
                first = ends[known]
                if ends[known + 1] - first == end - begin:
                    same = True
                    for at in range(end - begin):
                        if pool[first + at] != pool[begin + at]:
                            same = False
                            break
                    if same:
                        break
                slot = (slot + np.uint64(1)) & mask
            ids[done] = known
        done += 1
    return done, count


@compiled
def _rehash(pool: Words, ends: NDArray[np.int64], slots: NDArray[np.int32], count: int) -> None:
    mask = np.uint64(len(slots) - 1)
    for stack in range(count):
        slot = _hash(pool, ends[stack], ends[stack + 1]) & mask
        while slots[slot] != NO_STACK:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = stack


@compiled
def _join(
    pool: Words,
    parts: tuple[
        tuple[NDArray[np.int64], NDArray[np.int64]],
        tuple[NDArray[np.int64], NDArray[np.int64]],
        tuple[NDArray[np.int64], NDArray[np.int64]],
    ],
    out: tuple[Words, NDArray[np.int64]],
) -> None:
    """Put parts of the pool after each other, each from its begin to its stop, for each chain."""
    words, ends = out
    for chain in range(len(ends) - 1):
        at = ends[chain]
        for begin, stop in parts:
            for place in range(begin[chain], stop[chain]):
                words[at] = pool[place]
                at += 1
