"""Unwinding, held to stacks that are built frame by frame, to a plain twin of the compiled loop, and to hostile input."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offwake.analyzer.address_space import AddressSpaces, Mapping
from offwake.analyzer.unwind import FRAMES_AT_MOST, PYTHON_FRAME, ROWS, End, PythonCode, Unwinder
from offwake.analyzer.user_stacks import UserStacks
from offwake.format.stacks import (
    CUT,
    HEAD,
    HERE,
    PYTHON_CALLED,
    PYTHON_CODE,
    REGISTERS,
    ROW,
    SIGNAL,
    VALUE_BITS,
    Cfa,
    Rule,
)

PROGRAM = ("/usr/bin/program", b"1")
BASE, TEXT = 0x550000000000, 0x10000
STACK = 0x7FFC00001000
NONE = (Rule.SAME, 0)
MASK = (1 << 64) - 1


@dataclass
class Built:
    """A user stack as it is built, from the leaf out: words by place, and the chain that it must give."""

    registers: list[int]
    words: dict[int, int] = field(default_factory=dict)
    rows: list[tuple[int, ...]] = field(default_factory=list)
    chain: list[int] = field(default_factory=list)
    flags: int = HERE

    def row(self, start: int, cfa: tuple[int, int], ra: tuple[int, int] = (Rule.AT_CFA, -8), fp: tuple[int, int] = NONE,
            bx: tuple[int, int] = NONE) -> None:  # fmt: skip
        self.rows.append((start, cfa[0], ra[0], fp[0], bx[0], cfa[1], ra[1], fp[1], bx[1]))

    def put(self, address: int, value: int) -> None:
        self.words[(address - STACK) // 8] = value

    def octets(self, number: int = 1, tgid: int = 7) -> bytes:
        words = [place << VALUE_BITS | value for place, value in sorted(self.words.items())]
        head = HEAD.pack(number, tgid, len(words), self.flags)
        return head + REGISTERS.pack(*self.registers) + struct.pack(f"<{len(words)}Q", *words)

    def table(self) -> bytes:
        return b"".join(ROW.pack(*row) for row in self.rows)


def unwound(stack: Built) -> tuple[list[int], End]:
    return unwind(stack.octets(), stack.table())


def unwind(octets: bytes, table: bytes) -> tuple[list[int], End]:
    """Unwind one stack in a space where the program's text is mapped at BASE from offset 0 on."""
    spaces = AddressSpaces()
    space = spaces.add(7, Mapping(BASE, BASE + TEXT, 0, spaces.file(*PROGRAM)))
    stacks = UserStacks()
    data = np.frombuffer(octets, np.uint8)
    numbers = stacks.take(data, np.array([0]), np.array([len(data)]))
    rows = np.frombuffer(table, ROWS, len(table) // ROWS.itemsize)
    addresses, ends, why = Unwinder({PROGRAM: rows}, spaces).unwind(stacks, numbers, space)
    assert ends.tolist() == [0, len(addresses)]
    return addresses.tolist(), End(int(why[0]))


def start(ip: int = 0x100, fp: int = 0, bx: int = 0, di: int = 0) -> Built:
    return Built([BASE + ip, STACK, fp, bx, di])


OUTERMOST = 0x8000
"""Where the function begins that nobody called."""


def outermost(stack: Built) -> None:
    stack.row(OUTERMOST, (Cfa.SP, 8), (Rule.UNDEFINED, 0))


def test_frames_without_a_frame_pointer() -> None:
    stack = start()
    stack.row(0x100, (Cfa.SP, 8))
    stack.row(0x200, (Cfa.SP, 0x30))
    outermost(stack)
    stack.put(STACK, BASE + 0x210)
    stack.put(STACK + 8 + 0x28, BASE + OUTERMOST + 5)
    assert unwound(stack) == ([BASE + 0x100, BASE + 0x210, BASE + OUTERMOST + 5], End.WHOLE)


def test_a_frame_pointer_is_saved_and_restored() -> None:
    stack = start(fp=STACK + 0x40)
    stack.row(0x100, (Cfa.SP, 0x18), fp=(Rule.AT_CFA, -16))  # saves the caller's, and uses the register for something else
    stack.row(0x200, (Cfa.FP, 16), fp=(Rule.AT_CFA, -16))
    outermost(stack)
    stack.put(STACK + 8, STACK + 0x60)
    stack.put(STACK + 0x10, BASE + 0x220)
    stack.put(STACK + 0x60, 0)
    stack.put(STACK + 0x68, BASE + OUTERMOST + 1)
    assert unwound(stack) == ([BASE + 0x100, BASE + 0x220, BASE + OUTERMOST + 1], End.WHOLE)


def test_a_frame_pointer_that_was_popped_is_the_register() -> None:
    """Before a return the table still says where it was saved: below the stack pointer, where nothing was recorded."""
    stack = start(fp=STACK + 0x60)
    stack.row(0x100, (Cfa.SP, 8), fp=(Rule.AT_CFA, -16))
    stack.row(0x200, (Cfa.FP, 16))
    outermost(stack)
    stack.put(STACK, BASE + 0x220)
    stack.put(STACK + 0x68, BASE + OUTERMOST + 1)
    assert unwound(stack) == ([BASE + 0x100, BASE + 0x220, BASE + OUTERMOST + 1], End.WHOLE)


def test_the_call_is_looked_up_and_not_where_it_returns_to() -> None:
    """A call that never returns is the last instruction of its function: behind it another function begins."""
    stack = start()
    stack.row(0x100, (Cfa.SP, 8))
    stack.row(0x200, (Cfa.SP, 0x10))
    stack.row(0x300, (Cfa.SP, 0x100))
    outermost(stack)
    stack.put(STACK, BASE + 0x300)
    stack.put(STACK + 0x10, BASE + OUTERMOST + 1)
    assert unwound(stack) == ([BASE + 0x100, BASE + 0x300, BASE + OUTERMOST + 1], End.WHOLE)


def test_a_signal_handler_was_not_called_where_it_interrupted() -> None:
    """The interrupted instruction is the first of its function; its registers are where the kernel put them."""
    stack = start()
    stack.row(0x100, (Cfa.SP, 8))
    stack.row(0x200, (SIGNAL | Cfa.AT_SP, 0xA0), (Rule.AT_SP, 0xA8), (Rule.AT_SP, 0x78), (Rule.AT_SP, 0x80))
    stack.row(0x300, (Cfa.FP, 16))
    outermost(stack)
    frame = STACK + 8
    stack.put(STACK, BASE + 0x200)  # the return trampoline, to its first byte
    stack.row(0x1F0, (SIGNAL | Cfa.AT_SP, 0xA0), (Rule.AT_SP, 0xA8), (Rule.AT_SP, 0x78), (Rule.AT_SP, 0x80))
    stack.put(frame + 0xA0, STACK + 0x400)
    stack.put(frame + 0xA8, BASE + 0x300)
    stack.put(frame + 0x78, STACK + 0x480)
    stack.put(STACK + 0x488, BASE + OUTERMOST + 1)
    chain = [BASE + 0x100, BASE + 0x200, BASE + 0x300 + 1, BASE + OUTERMOST + 1]  # a byte before: the instruction itself
    assert unwound(stack) == (chain, End.WHOLE)


def test_a_realigned_stack_is_found_through_memory() -> None:
    stack = start(fp=STACK + 0x20)
    stack.row(0x100, (Cfa.AT_FP, -8), fp=(Rule.AT_FP, 0))
    outermost(stack)
    stack.put(STACK + 0x18, STACK + 0x100)
    stack.put(STACK + 0x20, STACK + 0x180)
    stack.put(STACK + 0xF8, BASE + OUTERMOST + 1)
    assert unwound(stack) == ([BASE + 0x100, BASE + OUTERMOST + 1], End.WHOLE)


def test_a_saved_rbx_is_the_base_of_a_frame() -> None:
    stack = start(bx=STACK + 0x80)
    stack.row(0x100, (Cfa.BX, 16), bx=(Rule.AT_CFA, -16))
    outermost(stack)
    stack.put(STACK + 0x88, BASE + OUTERMOST + 1)
    assert unwound(stack) == ([BASE + 0x100, BASE + OUTERMOST + 1], End.WHOLE)


@pytest.mark.parametrize(("ip", "pushed"), [(0x106, 0), (0x10B, 8)])
def test_an_entry_of_the_procedure_linkage_table_pushes_halfway(ip: int, pushed: int) -> None:
    stack = start(ip)
    stack.row(0x100, (Cfa.PLT, 11))
    outermost(stack)
    stack.put(STACK + pushed, BASE + OUTERMOST + 1)
    assert unwound(stack) == ([BASE + ip, BASE + OUTERMOST + 1], End.WHOLE)


def test_vfork_keeps_its_return_address_in_a_register() -> None:
    stack = start(di=BASE + 0x210)
    stack.row(0x100, (Cfa.SP, 0), (Rule.IN_DI, 0))
    stack.row(0x200, (Cfa.SP, 0x10))
    outermost(stack)
    stack.put(STACK + 8, BASE + OUTERMOST + 1)
    assert unwound(stack) == ([BASE + 0x100, BASE + 0x210, BASE + OUTERMOST + 1], End.WHOLE)


def test_code_without_a_table_is_taken_to_keep_frame_pointers() -> None:
    stack = start(0x4000, fp=STACK + 0x10)
    stack.rows.append((0x100, Cfa.NONE, Rule.OTHER, Rule.OTHER, Rule.OTHER, 0, 0, 0, 0))
    outermost(stack)
    stack.put(STACK + 0x10, STACK + 0x40)
    stack.put(STACK + 0x18, BASE + 0x4100)
    stack.put(STACK + 0x40, STACK + 0x60)
    stack.put(STACK + 0x48, BASE + OUTERMOST + 1)
    assert unwound(stack) == ([BASE + 0x4000, BASE + 0x4100, BASE + OUTERMOST + 1], End.WHOLE)


@pytest.mark.parametrize("keeps_frame_pointer", [False, True])
def test_a_trampoline_of_pythons_is_known_by_its_name(keeps_frame_pointer: bool) -> None:
    """sub $8,%rsp; call *%rcx; add $8,%rsp; ret. Or the frame pointer is saved in the eight bytes, and set to them."""
    spaces, code = AddressSpaces(), 0x7F0000000000
    spaces.add(7, Mapping(BASE, BASE + TEXT, 0, spaces.file(*PROGRAM)))
    space = spaces.add(7, Mapping(code, code + 0x1000, code, spaces.file("//anon", b"0:0:0")))
    stack = start(fp=STACK + 8 if keeps_frame_pointer else 0x40)
    stack.row(0x100, (Cfa.SP, 8))  # the interpreter, which the trampoline calls
    stack.row(0x200, (Cfa.FP, 16) if keeps_frame_pointer else (Cfa.SP, 0x28))  # and who called that
    outermost(stack)
    stack.put(STACK, code + 0x36)
    stack.put(STACK + 8, STACK + 0x30)
    stack.put(STACK + 0x10, BASE + 0x210)
    stack.put(STACK + 0x38, BASE + OUTERMOST + 1)
    stacks = UserStacks()
    data = np.frombuffer(stack.octets(), np.uint8)
    numbers = stacks.take(data, np.array([0]), np.array([len(data)]))
    rows = np.frombuffer(stack.table(), ROWS)
    unwinder = Unwinder({PROGRAM: rows}, spaces, PythonCode({7: [(code, code + 11), (code + 0x30, code + 0x3B)]}))
    addresses, _, why = unwinder.unwind(stacks, numbers, space)
    assert addresses.tolist() == [BASE + 0x100, code + 0x36, BASE + 0x210, BASE + OUTERMOST + 1]
    assert why.tolist() == [End.WHOLE]


def test_frames_of_python_stand_behind_what_runs_them() -> None:
    """The innermost loop runs two functions, the outer one a third; C code lies between."""
    spaces = AddressSpaces()
    space = spaces.add(7, Mapping(BASE, BASE + TEXT, 0, spaces.file(*PROGRAM)))
    stack = start()
    stack.row(0x100, (Cfa.SP, 8))
    outermost(stack)
    loop, between = BASE + 0x1010, BASE + 0x110
    for place, value in enumerate((loop, between, loop, BASE + OUTERMOST + 1)):
        stack.words[place] = value
    stack.row(0x1000, (Cfa.SP, 8))
    stack.rows.sort()
    python = [(PYTHON_CODE, 0xA), (PYTHON_CODE, 0xB), (PYTHON_CALLED, 0), (PYTHON_CODE, 0xC), (PYTHON_CALLED, 0)]
    words = stack.octets()[HEAD.size :] + b"".join(
        struct.pack("<Q", what << VALUE_BITS | code) for what, code in python
    )
    octets = HEAD.pack(1, 7, len(stack.words) + len(python), HERE) + words
    stacks = UserStacks()
    data = np.frombuffer(octets, np.uint8)
    numbers = stacks.take(data, np.array([0]), np.array([len(data)]))
    unwinder = Unwinder({PROGRAM: np.frombuffer(stack.table(), ROWS)}, spaces, PythonCode({}, {PROGRAM: (0x1000, 0x1100)}))
    addresses, _, why = unwinder.unwind(stacks, numbers, space)
    a, b, c = (PYTHON_FRAME | code for code in (0xA, 0xB, 0xC))
    assert addresses.tolist() == [BASE + 0x100, loop, a, b, between, loop, c, BASE + OUTERMOST + 1]
    assert why.tolist() == [End.WHOLE]


def test_what_a_chain_ends_at_is_told() -> None:
    stack = start()
    stack.row(0x100, (Cfa.SP, 8))
    assert unwound(stack) == ([BASE + 0x100], End.NO_CALLER)
    stack.flags |= CUT
    assert unwound(stack) == ([BASE + 0x100], End.CUT)
    assert unwound(start(TEXT + 1))[1] == End.NO_MAPPING
    assert unwound(start())[1] == End.NO_TABLE
    other = start()
    other.row(0x100, (Cfa.OTHER, 0))
    assert unwound(other)[1] == End.OTHER_RULE
    down = start(fp=STACK + 8)
    down.row(0x100, (Cfa.FP, -8))
    down.put(STACK - 8 + 8, BASE + 0x100)
    assert unwound(down)[1] in (End.NOT_UPWARD, End.NO_CALLER)


def test_a_stack_whose_words_never_came_is_lost() -> None:
    stack = start()
    stack.flags = 0
    octets = HEAD.pack(1, 7, 0, 0)
    assert unwind(octets, b"") == ([], End.LOST)


def test_a_chain_without_end_ends() -> None:
    stack = start()
    stack.row(0x100, (Cfa.SP, 8))
    for place in range(FRAMES_AT_MOST + 10):
        stack.words[place] = BASE + 0x150
    addresses, end = unwound(stack)
    assert (len(addresses), end) == (FRAMES_AT_MOST, End.TOO_MANY)


CODE = [BASE + 0x80, BASE + 0x100, BASE + 0x2FF, BASE + TEXT]
WORDS = st.sampled_from([0, *CODE, STACK, STACK + 8, STACK + 0x48, STACK - 8, MASK])
KINDS = st.integers(0, 9)
OFFSETS = st.sampled_from([-(1 << 31), -64, -16, -8, 0, 1, 8, 16, 64, 160, (1 << 31) - 1])
TABLE_ROWS = st.tuples(
    st.integers(0, 0x400), st.integers(0, 255), KINDS, KINDS, KINDS, OFFSETS, OFFSETS, OFFSETS, OFFSETS
)


@settings(max_examples=400)
@given(
    st.tuples(WORDS, WORDS, WORDS, WORDS, WORDS),
    st.lists(st.tuples(st.integers(0, 40), WORDS), max_size=40),
    st.lists(TABLE_ROWS, max_size=12),
    st.integers(0, 3),
)
def test_nonsense_ends_as_its_plain_twin_does(
    registers: tuple[int, ...], words: list[tuple[int, int]], rows: list[tuple[int, ...]], flags: int
) -> None:
    stack = Built(list(registers), {}, rows, flags=flags | HERE)
    for place, value in words:
        stack.words[place] = value & ((1 << VALUE_BITS) - 1)
    stack.rows.sort(key=lambda row: row[0])
    addresses, end = unwound(stack)
    assert (addresses, end) == unwound(stack)
    assert (addresses, end) == plain(stack)
    assert 1 <= len(addresses) <= FRAMES_AT_MOST


@settings(max_examples=300)
@given(st.binary(max_size=400), st.binary(max_size=200))
def test_any_bytes_are_unwound_to_an_end(octets: bytes, table: bytes) -> None:
    """Of stacks and tables that a stranger wrote nothing is believed but their sizes."""
    octets = octets.ljust(HEAD.size, b"\0")
    addresses, _ = unwind(octets, table)
    assert len(addresses) <= FRAMES_AT_MOST


def plain(stack: Built) -> tuple[list[int], End]:
    """What `_chain` does, written for a reader."""
    steps = _Steps(stack)
    chain = []
    steps_left = iter(steps)
    for address in steps_left:
        chain.append(address)
        if len(chain) == min(FRAMES_AT_MOST, len(stack.words) + 2):
            following = next(steps_left, None)
            return chain, steps.end if following is None else End.TOO_MANY
    cut = stack.flags & CUT and steps.end == End.NO_CALLER
    return chain, End.CUT if cut else steps.end


class _Steps:
    def __init__(self, stack: Built) -> None:
        self.stack, self.end = stack, End.WHOLE
        self.ip, self.sp, self.fp, self.bx, self.di = stack.registers
        self.bottom = self.sp

    def __iter__(self) -> Iterator[int]:
        exact, is_leaf = True, True
        while True:
            yield (self.ip + 1) & MASK if exact and not is_leaf else self.ip
            is_leaf = False
            at = self.ip if exact else (self.ip - 1) & MASK
            if not BASE <= at < BASE + TEXT:
                self.end = End.NO_MAPPING
                return
            row = next((row for row in reversed(self.stack.rows) if row[0] <= at - BASE), None)
            exact, end = self.step(row)
            if end is not None:
                self.end = end
                return

    def step(self, row: tuple[int, ...] | None) -> tuple[bool, End | None]:
        if row is None or row[1] == Cfa.NONE:
            if self.fp < self.sp or self.fp == 0:
                return False, End.NO_TABLE
            caller, cfa = self.read(self.fp + 8), (self.fp + 16) & MASK
            if not caller:
                return False, End.NO_TABLE
            self.ip, self.fp = caller, self.read(self.fp)
            if cfa <= self.sp:
                return False, End.NOT_UPWARD
            self.sp = cfa
            return False, None
        _, kind, ra_rule, fp_rule, bx_rule, offset, ra, fp, bx = row
        match kind & ~SIGNAL:
            case Cfa.SP:
                cfa = self.sp + offset
            case Cfa.FP:
                cfa = self.fp + offset
            case Cfa.BX:
                cfa = self.bx + offset
            case Cfa.AT_SP:
                cfa = self.read(self.sp + offset)
            case Cfa.AT_FP:
                cfa = self.read(self.fp + offset)
            case Cfa.PLT:
                cfa = self.sp + (16 if self.ip % 16 >= offset else 8)
            case _:
                return False, End.OTHER_RULE
        cfa &= MASK
        if ra_rule == Rule.UNDEFINED:
            return False, End.WHOLE
        caller = self.di if ra_rule == Rule.IN_DI else self.restored(ra_rule, ra, cfa, 0)
        saved_bx, saved_fp = self.restored(bx_rule, bx, cfa, self.bx), self.restored(fp_rule, fp, cfa, self.fp)
        self.ip, self.fp, self.bx, self.di = caller, saved_fp, saved_bx, 0
        signal = bool(kind & SIGNAL)
        if not caller:
            return signal, End.NO_CALLER if ra_rule == Rule.AT_CFA or signal else End.OTHER_RULE
        if cfa < self.sp or (cfa == self.sp and ra_rule != Rule.IN_DI):
            return signal, End.NOT_UPWARD
        self.sp = cfa
        return signal, None

    def restored(self, rule: int, offset: int, cfa: int, unchanged: int) -> int:
        match rule:
            case Rule.SAME:
                return unchanged
            case Rule.AT_CFA:
                return unchanged if (cfa + offset) & MASK < self.sp else self.read(cfa + offset)
            case Rule.AT_SP:
                return self.read(self.sp + offset)
            case Rule.AT_FP:
                return self.read(self.fp + offset)
        return 0

    def read(self, address: int) -> int:
        offset = (address - self.bottom) & MASK
        return 0 if offset % 8 or offset >= 1 << 19 else self.stack.words.get(offset // 8, 0)
