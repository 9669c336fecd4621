"""Where callers are found on user stacks, looked up in unwind tables when the kernel meets a return address, and told to it.

A process's return addresses are few: some hundreds where it waits ten thousand times a second. What a file's tables say of
one is looked up once, for all processes that map the file. So the BPF programs go up a stack from caller to caller, where
else they would look through all of it.
"""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from offwake.format.stacks import SIGNAL, Cfa, Rule
from offwake.recorder.binaries.files import File, FileKeeper, Row
from offwake.recorder.binaries.unwind_tables import row_at
from offwake.recorder.host.processes import ProcessTable

__all__ = ["BY_FP", "BY_SP", "INTERRUPTED", "NO_WAY", "OUTERMOST", "UserFrames", "rule_of_row"]

# As in user_frames.bpf.c.
INTERRUPTED, ADDRESS_BITS = 1 << 63, 47
BY_SP, BY_FP, OUTERMOST, NO_WAY = range(1, 5)
FP_WORDS_AT, SIZE_AT, FARTHEST = 8, 32, 1 << 22

SPACES = 1 << 16
ANSWERING_NS = 5_000_000  # at a time: the rings are not to wait
ASKED_AT_MOST = 1 << 14
RULES_REMEMBERED = 1 << 16


class _Kernel(Protocol):
    def set_user_frame(self, key: int, rule: int) -> None: ...


@dataclass
class _Space:
    """What processes with the same mappings share, and the keys that the kernel was told of it."""

    number: int
    mappings: int
    tgids: set[int] = field(default_factory=set)
    keys: set[int] = field(default_factory=set)


class UserFrames:
    """Answers what the kernel asks of return addresses, from the files that `table` says are mapped there."""

    def __init__(self, kernel: _Kernel, table: ProcessTable, keeper: FileKeeper) -> None:
        self._kernel, self._table, self._keeper = kernel, table, keeper
        self._asked: deque[tuple[int, int]] = deque(maxlen=ASKED_AT_MOST)
        self._rules: dict[tuple[File, int], int] = {}
        self._spaces: dict[int, _Space] = {}  # by process …
        self._alike: dict[int, _Space] = {}  # … and by mappings
        self._free = deque(range(1, SPACES))

    def enter(self, tgid: int) -> int:
        """Return the number of the space that a process's addresses are in; 0 where there is none left."""
        self.leave(tgid)
        mappings = hash(tuple((mapping[:3], file) for mapping, file in self._table.files(tgid)))
        space = self._alike.get(mappings)
        if not space:
            if not self._free:
                return 0
            space = self._alike[mappings] = _Space(self._free.popleft(), mappings)
        space.tgids.add(tgid)
        self._spaces[tgid] = space
        return space.number

    def leave(self, tgid: int) -> None:
        """Note that what is known of a process's addresses is no longer true of it."""
        space = self._spaces.pop(tgid, None)
        if space:
            space.tgids.remove(tgid)
            if not space.tgids:
                for key in space.keys:
                    self._kernel.set_user_frame(key, 0)
                del self._alike[space.mappings]
                self._free.append(space.number)

    def ask(self, tgid: int, address: int) -> None:
        """Take a return address of a process (INTERRUPTED: what it runs next) that is to be told of."""
        self._asked.append((tgid, address))

    def answer(self) -> bool:
        """Answer what was asked, for a few milliseconds; returns whether anything was."""
        is_asked, end = bool(self._asked), time.monotonic_ns() + ANSWERING_NS
        while self._asked and time.monotonic_ns() < end:
            tgid, address = self._asked.popleft()
            space = self._spaces.get(tgid)
            key = space.number << ADDRESS_BITS | address if space else 0
            if space and key not in space.keys:
                space.keys.add(key)
                self._kernel.set_user_frame(key, self._rule_at(tgid, address))
        return is_asked

    def _rule_at(self, tgid: int, address: int) -> int:
        at = address ^ INTERRUPTED if address & INTERRUPTED else address - 1  # of a return address the call is meant
        for mapping, file in self._table.files(tgid):
            if mapping[0] <= at < mapping[1]:
                return self._rule_of(file, mapping, at - mapping[0] + mapping[2])
        return NO_WAY

    def _rule_of(self, file: File, mapping: Row, offset: int) -> int:
        key = (file, offset)
        if key not in self._rules:
            if len(self._rules) >= RULES_REMEMBERED:
                self._rules.clear()
            image = self._keeper.image(file, [mapping])
            self._rules[key] = rule_of_row(row_at(image, offset)) if image else NO_WAY
        return self._rules[key]


def rule_of_row(row: tuple[int, ...]) -> int:
    """Return a row of a table (format.stacks.ROW, without its start) as user_frames.bpf.c has it."""
    cfa, ra_rule, fp_rule, _, offset, ra, fp, _ = row
    if ra_rule == Rule.UNDEFINED:
        return OUTERMOST
    kind = {Cfa.SP: BY_SP, Cfa.FP: BY_FP}.get(Cfa(cfa & ~SIGNAL))
    fp_words = {Rule.SAME: 0, Rule.AT_CFA: -fp // 8}.get(Rule(fp_rule), -1)
    is_plain = not cfa & SIGNAL and (ra_rule, ra) == (Rule.AT_CFA, -8) and not (offset | fp) & 7
    if not kind or not is_plain or not 0 < offset < FARTHEST or not 0 <= fp_words < FARTHEST // 8:
        return NO_WAY
    return kind | fp_words << FP_WORDS_AT | offset << SIZE_AT
