"""User stacks as they were recorded: registers and the words that an unwinder may need, by the stack's id.

An event names its stack; the words come with the first event of a segment that has it, on whichever CPU.
"""


import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled
from offwake.format.stacks import HEAD, HERE, REGISTERS

__all__ = ["UserStacks"]

Words = NDArray[np.uint64]
_HEAD = np.dtype([("id", "<u8"), ("tgid", "<u4"), ("words", "<u2"), ("flags", "<u2")])
WORDS_AT_MOST = 4096  # the recorder sends at most 2,047
KEPT_AT_MOST = 1 << 24
"""Words at a time: a segment of 64 MB has half as many."""
_HEAD_WORDS, _REGISTER_WORDS = HEAD.size // 8, REGISTERS.size // 8


class UserStacks:
    """All distinct user stacks seen so far, each by a number.

    Of stack i: `tgid[i]` (uint32), `flags[i]` (uint16), `registers[i]` (uint64 × 5), and its words, in the order of their
    places, `words[start[i] : start[i] + length[i]]`. The length is −1 where the words are not here: they have not come yet,
    or are no longer needed (`forgotten[i]`).
    """

    def __init__(self) -> None:
        self.words = np.empty(1 << 12, np.uint64)
        self.start = np.zeros(0, np.int64)
        self.length = np.zeros(0, np.int32)
        self.registers = np.zeros((0, _REGISTER_WORDS), np.uint64)
        self.tgid = np.zeros(0, np.uint32)
        self.flags = np.zeros(0, np.uint16)
        self.forgotten = np.zeros(0, np.bool_)
        self.ids: list[int] = []
        self._numbers: dict[int, int] = {}
        self._used = 0

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, octets: NDArray[np.uint8], head: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int32]:
        """Take what follows events of a span (as bytes) from `head` up to at most `end`; return the stacks' numbers (int32).

        What lies outside the span is no stack: −1.
        """
        numbers = np.full(len(head), -1, np.int32)
        fits = np.flatnonzero((head >= 0) & (head + HEAD.size <= end) & (end <= len(octets)))
        if not len(fits):
            return numbers
        raw = np.zeros((len(fits), HEAD.size), np.uint8)
        _copy(octets, head[fits], raw)
        heads = raw.reshape(-1).view(_HEAD)
        numbers[fits] = self._number(heads["id"])
        needed = 8 * (_HEAD_WORDS + _REGISTER_WORDS + heads["words"].astype(np.int64))
        holds = (heads["flags"] & HERE > 0) & (heads["words"] <= WORDS_AT_MOST) & (head[fits] + needed <= end[fits])
        fresh = np.flatnonzero(holds & (self.length[numbers[fits]] < 0) & ~self.forgotten[numbers[fits]])
        for place in fresh.tolist():
            self._keep(int(numbers[fits[place]]), heads[place], octets, int(head[fits[place]]) + HEAD.size)
        return numbers

    def forget(self, numbers: NDArray[np.int32]) -> None:
        """Let go of the words of some stacks, for good."""
        self.forgotten[numbers] = True
        self.length[numbers] = -1
        kept = np.flatnonzero(self.length >= 0)
        parts = [self.words[self.start[i] : self.start[i] + self.length[i]] for i in kept.tolist()]
        self.start[kept] = np.cumsum(self.length[kept]) - self.length[kept]
        self._used = int(self.length[kept].sum())
        self.words = np.concatenate((*parts, np.empty(1 << 12, np.uint64)))

    def _number(self, ids: NDArray[np.uint64]) -> NDArray[np.int32]:
        distinct, which = np.unique(ids, return_inverse=True)
        numbers = np.array([self._numbers.setdefault(its, len(self._numbers)) for its in distinct.tolist()], np.int32)
        if len(self._numbers) > len(self.ids):
            fresh = zip(numbers.tolist(), distinct.tolist(), strict=True)
            self.ids += [its for _, its in sorted(pair for pair in fresh if pair[0] >= len(self.ids))]
        if len(self.ids) > len(self.length):
            more = max(len(self.ids) - len(self.length), len(self.length))
            self.start = np.concatenate((self.start, np.zeros(more, np.int64)))
            self.length = np.concatenate((self.length, np.full(more, -1, np.int32)))
            self.registers = np.concatenate((self.registers, np.zeros((more, _REGISTER_WORDS), np.uint64)))
            self.tgid = np.concatenate((self.tgid, np.zeros(more, np.uint32)))
            self.flags = np.concatenate((self.flags, np.zeros(more, np.uint16)))
            self.forgotten = np.concatenate((self.forgotten, np.zeros(more, np.bool_)))
        return numbers[which.reshape(-1)]

    def _keep(self, number: int, head: np.void, octets: NDArray[np.uint8], at: int) -> None:
        length = int(head["words"])
        if self.length[number] >= 0 or self._used + length > KEPT_AT_MOST:  # two events of this span brought it
            return
        words = np.frombuffer(octets[at : at + 8 * (_REGISTER_WORDS + length)].tobytes(), np.uint64)
        while self._used + length > len(self.words):
            self.words = np.concatenate((self.words, np.empty_like(self.words)))
        self.registers[number] = words[:_REGISTER_WORDS]
        self.words[self._used : self._used + length] = words[_REGISTER_WORDS:]
        self.start[number], self.length[number] = self._used, length
        self.tgid[number], self.flags[number] = head["tgid"], head["flags"]
        self._used += length


@compiled
def _copy(octets: NDArray[np.uint8], offsets: NDArray[np.int64], rows: NDArray[np.uint8]) -> None:
    for row in range(len(offsets)):
        for column in range(rows.shape[1]):
            rows[row, column] = octets[offsets[row] + column]
