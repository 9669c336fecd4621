"""Unwinding: from the registers and words of a user stack to its call chain, by the tables that the recording carries.

Each step asks the row of the instruction for the canonical frame address (CFA), and that for the caller's registers. Code
without a table, such as a JIT's, is taken to keep frame pointers, except Python's trampolines, whose frames are known.
Whatever the tables and the stacks say, a step moves up the stack, so that every chain ends.
"""

import enum
from bisect import bisect_left
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.address_space import AddressSpaces, Mapping
from offwake.analyzer.compiled import compiled
from offwake.analyzer.user_stacks import UserStacks
from offwake.format.stacks import CUT, NO_TABLE, PYTHON_CALLED, PYTHON_CODE, SIGNAL, VALUE_BITS, Cfa, Rule

__all__ = ["FRAMES_AT_MOST", "PYTHON_FRAME", "ROWS", "End", "PythonCode", "Unwinder"]

FRAMES_AT_MOST = 1024
OFFSETS = (1 << 32) - 1
ROWS = np.dtype(
    [("start", "<u4"), ("cfa", "u1"), ("ra_rule", "u1"), ("fp_rule", "u1"), ("bx_rule", "u1"),
     ("offset", "<i4"), ("ra", "<i4"), ("fp", "<i4"), ("bx", "<i4")]
)  # fmt: skip
"""format.stacks.ROW."""

_MAPPING = np.dtype(
    [("start", "u8"), ("end", "u8"), ("offset", "u8"), ("first", "i8"), ("last", "i8"), ("runs_from", "u8"),
     ("runs_to", "u8")],
    align=True,
)  # fmt: skip
"""`first` to `last` are the rows; at `runs_from` to `runs_to`, offsets in the file, Python runs functions."""
_VALUE = np.uint64((1 << VALUE_BITS) - 1)
_PLACE = np.uint64(VALUE_BITS)
_CUT = np.uint16(CUT)
PYTHON_FRAME = 1 << 62
"""Added to the id of a code object, where a chain has a frame of Python's."""
_PYTHON_FRAME = np.uint64(PYTHON_FRAME)
_PYTHON_CODE, _PYTHON_CALLED = np.uint64(PYTHON_CODE << VALUE_BITS), np.uint64(PYTHON_CALLED << VALUE_BITS)
_UNREADABLE = np.uint64(0)  # nothing that is kept has this value

Files = Map[tuple[str, bytes], NDArray[np.void]]

@dataclass(frozen=True)
class PythonCode:
    """Where Python's code is: start and end of trampolines by process; in a file, of what runs Python's functions."""

    trampolines: Map[int, list[tuple[int, int]]] = field(default_factory=dict)
    interpreters: Map[tuple[str, bytes], tuple[int, int]] = field(default_factory=dict)


_IF_SET = 255
"""A rule of the analyzer's own: in memory at CFA + if the register points there, else as it is."""
TRAMPOLINE = (Cfa.SP, Rule.AT_CFA, _IF_SET, Rule.SAME, 16, -8, -16, 0)
"""A frame of Python's perf trampolines where they have called: eight bytes of their own, above them the return address.

Source: CPython 3.12, Python/asm_trampoline.S. Built to keep frame pointers they save it in the eight bytes.
"""


class End(enum.IntEnum):
    """Where a chain ended."""

    WHOLE = 0
    NO_CALLER = 1
    NO_TABLE = 2
    NO_MAPPING = 3
    CUT = 4
    LOST = 5
    TOO_MANY = 6
    NOT_UPWARD = 7
    OTHER_RULE = 8
    NO_FRAME_POINTER = 9

    @property
    def words(self) -> str:
        """What the end is called; of a stack that is not whole, why."""
        return _WORDS[self]


_WORDS = {
    End.WHOLE: "whole",
    End.NO_CALLER: "no return address where the caller's should be",
    End.NO_TABLE: "code without unwind table or frame pointer",
    End.NO_MAPPING: "an address where nothing is known to be mapped",
    End.CUT: "deeper than what was looked at (record --stack-kb)",
    End.LOST: "its words were in a part that is missing",
    End.TOO_MANY: f"more than {FRAMES_AT_MOST} frames",
    End.NOT_UPWARD: "a table or a frame pointer that leads down the stack",
    End.OTHER_RULE: "an unwind rule that is not followed",
    End.NO_FRAME_POINTER: "code without frame pointer (record --user-stacks auto)",
}


class Unwinder:
    """Unwinds user stacks. `files` gives a file's rows (ROWS), as the recording's UNWIND blocks have them.

    Python's frames stand behind that of the C function that runs them, as PYTHON_FRAME and their code's id.
    """

    def __init__(self, files: Files, spaces: AddressSpaces, python: PythonCode = PythonCode()) -> None:  # noqa: B008
        self._spaces, self._python = spaces, python
        self._extent: dict[tuple[str, bytes], tuple[int, int]] = {}
        parts, at = [np.empty(0, ROWS)], 0
        for file, rows in files.items():
            parts.append(rows[np.argsort(rows["start"], kind="stable")])
            self._extent[file] = (at, at + len(rows))
            at += len(rows)
        self._rows = np.concatenate(parts)
        self._mappings: dict[int, NDArray[np.void]] = {}
        self._made: dict[tuple[int, int, int], tuple[int, int]] = {}

    def unwind(
        self, stacks: UserStacks, numbers: NDArray[np.int32], space: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint8]]:
        """Unwind stacks, given by their numbers (N), of one address space (below 0: it is not known).

        Returns the addresses of all of them after each other (uint64), leaf first, as call chains have them; where each
        begins and ends (int64, N + 1); and where each chain ended (uint8, N; see End).
        """
        addresses = np.empty(64 * max(len(numbers), 1) + FRAMES_AT_MOST, np.uint64)
        ends, why = np.zeros(len(numbers) + 1, np.int64), np.full(len(numbers), End.LOST, np.uint8)
        recorded = (stacks.words, stacks.start, stacks.length, stacks.registers, stacks.flags)
        done = 0
        while done < len(numbers):
            done = _unwind(recorded, numbers, self._mappings_of(space), self._rows, (addresses, ends, why), done)
            if done < len(numbers):
                addresses = np.concatenate((addresses, np.empty_like(addresses)))
        return addresses[: ends[-1]], ends, why

    def _mappings_of(self, space: int) -> NDArray[np.void]:
        """Return a space's mappings with the rows of their files; those that were added since the last time too."""
        mappings = self._spaces.spaces[space].mappings if space >= 0 else []
        known = self._mappings.get(space)
        if known is None or len(known) != len(mappings):
            rows = [(m.start, m.end, *self._rows_of(space, m), *self._runs(space, m)) for m in mappings]
            known = self._mappings[space] = np.array(rows, _MAPPING)
        return known

    def _runs(self, space: int, mapping: Mapping) -> tuple[int, int]:
        """Return where a mapping's file runs Python's functions, unless trampolines are to tell which."""
        if self._spaces.spaces[space].tgid in self._python.trampolines:
            return 0, 0
        return self._python.interpreters.get(self._spaces.files[mapping.file], (0, 0))

    def _rows_of(self, space: int, mapping: Mapping) -> tuple[int, int, int]:
        """Return at which offset a mapping begins, and from where to where its rows are.

        Those of trampolines are made when they are asked for, with offsets in the mapping.
        """
        path, _ = file = self._spaces.files[mapping.file]
        if not path.startswith("//anon"):
            return mapping.offset, *self._extent.get(file, (0, 0))
        tgid = self._spaces.spaces[space].tgid
        key = (tgid, mapping.start, mapping.end)
        if key not in self._made:
            trampolines = self._python.trampolines.get(tgid, [])
            inside = trampolines[bisect_left(trampolines, (mapping.start,)) : bisect_left(trampolines, (mapping.end,))]
            made = [
                (address - mapping.start, *row)
                for start, end in inside
                if start < end <= min(mapping.end, mapping.start + OFFSETS)
                for address, row in ((start, TRAMPOLINE), (end, NO_TABLE))
            ]
            first = len(self._rows)
            if made:
                self._rows = np.concatenate((self._rows, np.array(made, ROWS)))
            self._made[key] = (first, len(self._rows))
        return 0, *self._made[key]


@compiled
def _unwind(
    stacks: Any, numbers: NDArray[np.int32], mappings: NDArray[np.void], rows: NDArray[np.void], out: Any, done: int
) -> int:
    """Unwind from the `done`th stack on; stops early where there is no room for another chain. Returns how many are done."""
    words, starts, lengths, registers, flags = stacks
    addresses, ends, why = out
    while done < len(numbers):
        cursor = ends[done]
        if cursor + FRAMES_AT_MOST > len(addresses):
            return done
        number = numbers[done]
        if lengths[number] >= 0:
            mine = words[starts[number] : starts[number] + lengths[number]]
            cut = flags[number] & _CUT != 0
            count, end = _chain(mine, registers[number], mappings, rows, addresses[cursor:])
            cursor += count
            why[done] = _CUT_END if cut and end == _NO_CALLER else end
        done += 1
        ends[done] = cursor
    return done


_WHOLE, _NO_CALLER, _NO_TABLE, _NO_MAPPING = int(End.WHOLE), int(End.NO_CALLER), int(End.NO_TABLE), int(End.NO_MAPPING)
_CUT_END, _TOO_MANY, _NOT_UPWARD, _OTHER_RULE = int(End.CUT), int(End.TOO_MANY), int(End.NOT_UPWARD), int(End.OTHER_RULE)
_SP, _FP, _BX, _AT_SP, _AT_FP, _PLT = (int(cfa) for cfa in (Cfa.SP, Cfa.FP, Cfa.BX, Cfa.AT_SP, Cfa.AT_FP, Cfa.PLT))
_CFA_NONE, _SIGNAL = int(Cfa.NONE), SIGNAL
_SAME, _AT_CFA, _RULE_SP, _RULE_FP = int(Rule.SAME), int(Rule.AT_CFA), int(Rule.AT_SP), int(Rule.AT_FP)
_UNDEFINED, _IN_DI = int(Rule.UNDEFINED), int(Rule.IN_DI)


@compiled
def _chain(
    words: NDArray[np.uint64],
    registers: NDArray[np.uint64],
    mappings: NDArray[np.void],
    rows: NDArray[np.void],
    addresses: NDArray[np.uint64],
) -> tuple[int, int]:
    """Fill in the addresses of one chain; returns how many there are, and where it ended."""
    ip, sp, fp, bx, di = registers[0], registers[1], registers[2], registers[3], registers[4]
    bottom, one, word_size = sp, np.uint64(1), np.uint64(8)
    python = len(words)
    at_most = min(FRAMES_AT_MOST, len(words) + 2)  # a frame has a word of its own, but the first, and the caller of vfork
    while python > 0 and words[python - 1] >= _PYTHON_CODE:
        python -= 1
    words, python_frames = words[:python], words[python:]
    python = 0
    interrupted = True  # the instruction at ip was not a call that has yet to return
    count = 0
    while True:
        if count >= at_most:
            return count, _TOO_MANY
        # Names are looked up a byte before all addresses but the first: where a call stands. An interrupted instruction is
        # itself what was run.
        addresses[count] = ip + one if interrupted and count else ip
        count += 1
        at = ip if interrupted else ip - one
        place = _find(mappings["start"], 0, len(mappings), at)
        if place < 0 or at >= mappings[place].end:
            return count, _NO_MAPPING
        mapping = mappings[place]
        offset = at - mapping.start + mapping.offset
        if mapping.runs_from <= offset < mapping.runs_to:
            while python < len(python_frames) and count < at_most:
                frame = python_frames[python]
                python += 1
                if frame >= _PYTHON_CALLED:
                    break
                addresses[count] = _PYTHON_FRAME | frame & _VALUE
                count += 1
        row = _find(rows["start"], mapping.first, mapping.last, offset)
        interrupted = from_di = False
        if row < 0 or rows[row].cfa == _CFA_NONE:
            if fp < sp or fp == 0:
                return count, _NO_TABLE
            ip, fp, cfa = _read(words, bottom, fp + word_size), _read(words, bottom, fp), fp + word_size + word_size
            if ip == _UNREADABLE:
                return count, _NO_TABLE
        else:
            rule = rows[row]
            kind = rule.cfa & ~_SIGNAL
            if kind == _SP:
                cfa = _moved(sp, rule.offset)
            elif kind == _FP:
                cfa = _moved(fp, rule.offset)
            elif kind == _BX:
                cfa = _moved(bx, rule.offset)
            elif kind == _AT_SP:
                cfa = _read(words, bottom, _moved(sp, rule.offset))
            elif kind == _AT_FP:
                cfa = _read(words, bottom, _moved(fp, rule.offset))
            elif kind == _PLT:
                cfa = sp + (word_size + word_size if int(ip & np.uint64(15)) >= rule.offset else word_size)
            else:
                return count, _OTHER_RULE
            if rule.ra_rule == _UNDEFINED:
                return count, _WHOLE
            bases = (cfa, sp, fp)
            interrupted = rule.cfa & _SIGNAL != 0
            from_di = rule.ra_rule == _IN_DI  # which is known of the first frame alone, so that the chain moves on
            ip = di if from_di else _restored(words, bottom, rule.ra_rule, rule.ra, bases, _UNREADABLE)
            di = _UNREADABLE
            bx = _restored(words, bottom, rule.bx_rule, rule.bx, bases, bx)
            fp = _restored(words, bottom, rule.fp_rule, rule.fp, bases, fp)
            if ip == _UNREADABLE:
                return count, _NO_CALLER if rule.ra_rule == _AT_CFA or interrupted else _OTHER_RULE
        if cfa < sp or (cfa == sp and not from_di):
            return count, _NOT_UPWARD
        sp = cfa


@compiled
def _find(starts: NDArray[Any], first: int, last: int, value: np.uint64) -> int:
    """Return the last index in [first, last) whose start is not above the value, −1 for none."""
    low, high = first, last
    while low < high:
        middle = (low + high) >> 1
        if np.uint64(starts[middle]) <= value:
            low = middle + 1
        else:
            high = middle
    return low - 1 if low > first else -1


@compiled
def _moved(address: np.uint64, offset: np.int32) -> np.uint64:
    moved: np.uint64 = address + np.uint64(np.int64(offset))
    return moved


@compiled
def _read(words: NDArray[np.uint64], bottom: np.uint64, address: np.uint64) -> np.uint64:
    """Return the word at an address of the stack; 0 where none was kept."""
    offset = address - bottom
    if offset & np.uint64(7) or offset >> np.uint64(19):  # places have sixteen bits
        return _UNREADABLE
    place = offset >> np.uint64(3)
    low, high = 0, len(words)
    while low < high:
        middle = (low + high) >> 1
        if words[middle] >> _PLACE < place:
            low = middle + 1
        else:
            high = middle
    if low < len(words) and words[low] >> _PLACE == place:
        value: np.uint64 = words[low] & _VALUE
        return value
    return _UNREADABLE


@compiled
def _restored(
    words: NDArray[np.uint64], bottom: np.uint64, rule: int, offset: np.int32, bases: Any, unchanged: np.uint64
) -> np.uint64:
    """Return a register's value before the call; 0 where it is not known. `unchanged` is what it has now."""
    cfa, sp, fp = bases
    if rule == _SAME:
        return unchanged
    if rule == _AT_CFA:
        at = _moved(cfa, offset)
        return unchanged if at < sp else _read(words, bottom, at)  # below the stack: it has been popped already
    if rule == _IF_SET:
        at = _moved(cfa, offset)
        return _read(words, bottom, at) if unchanged == at else unchanged
    if rule == _RULE_SP:
        return _read(words, bottom, _moved(sp, offset))
    if rule == _RULE_FP:
        return _read(words, bottom, _moved(fp, offset))
    return _UNREADABLE
