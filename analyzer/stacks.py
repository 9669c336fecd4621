"""Call chains, each kept once: a stack is an id until it is shown.

A chain is 64-bit addresses, leaf first: kernel addresses (the upper half), then user addresses. Marks of context and the
recorder's own frames are left out.
"""

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled

__all__ = ["NO_STACK", "SNAPSHOT_STACKS", "Chains", "StackTable"]

NO_STACK = -1
SNAPSHOT_STACKS = -3
"""Stack ids from here down are stacks of the snapshot: id −3 − i is `Replay.snapshot_stacks[i]`."""
KERNEL = np.uint64(0xFFFF_8000_0000_0000)
_CONTEXTS = np.uint64((1 << 64) - 4095)
Words = NDArray[np.uint64]
Pool = tuple[NDArray[np.int32], Words, NDArray[np.int64], NDArray[np.int32]]
_SEED, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x9E3779B97F4A7C15)


class Chains:
    """Call chains of a span of events: event i has `length[i]` words from `start[i]`, of which `skip[i]` kernel frames
    are the recorder's. `words` is the span as uint64."""

    def __init__(
        self, words: NDArray[np.uint64], start: NDArray[np.int64], length: NDArray[np.int32], skip: NDArray[np.int32]
    ) -> None:
        self.words, self.start, self.length, self.skip = words, start, length, skip


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
                chains.skip,
                (ids, self._words, self._ends, self._slots),
                done,
                self._count,
            )
            if done < len(ids):
                self._grow()
        return ids

    def addresses(self, stack: int) -> list[int]:
        """Return a stack's addresses, leaf first."""
        found: list[int] = self._words[self._ends[stack] : self._ends[stack + 1]].tolist()
        return found

    def _grow(self) -> None:
        self._words = np.concatenate((self._words, np.empty_like(self._words)))
        self._ends = np.concatenate((self._ends, np.zeros_like(self._ends)))
        self._slots = np.full(2 * len(self._slots), NO_STACK, np.int32)
        _rehash(self._words, self._ends, self._slots, self._count)


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
    skips: NDArray[np.int32],
    table: Pool,
    done: int,
    count: int,
) -> tuple[int, int]:
    """Intern chains from `done` on; stops early when the table is full. Returns how many are done, and the new count."""
    ids, pool, ends, slots = table
    mask = np.uint64(len(slots) - 1)
    while done < len(starts):
        begin = ends[count]
        if begin + lengths[done] > len(pool) or count + 2 > len(ends) or 2 * (count + 1) > len(slots):
            return done, count
        end, skip = begin, skips[done]
        for at in range(starts[done], starts[done] + lengths[done]):
            word = words[at]
            if word >= _CONTEXTS:
                continue
            if skip and word >= KERNEL:
                skip -= 1
                continue
            pool[end] = word
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
