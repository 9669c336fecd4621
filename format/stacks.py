"""What a recording carries of stacks: what follows an event, and the tables by which user stacks are unwound.

The recorder's BPF programs write the first (recorder/bpf/), its end of a capture the second
(recorder/binaries/unwind_tables.py); the analyzer reads both (analyzer/unwind.py). docs/format.md describes them.
"""

import enum
import struct

__all__ = [
    "CUT",
    "FOLLOWED",
    "HEAD",
    "HERE",
    "KERNEL_ID",
    "KERNEL_STACK_FLAG",
    "PYTHON_CALLED",
    "PYTHON_CODE",
    "NO_TABLE",
    "REGISTERS",
    "ROW",
    "USER_STACK_FLAG",
    "VALUE_BITS",
    "Cfa",
    "Rule",
]

KERNEL_STACK_FLAG = 0x4000
"""Set in the flags of an event that the kernel stack's id follows."""

KERNEL_ID = struct.Struct("<Q")
"""What follows the event: the kernel stack's id, which stands for a call chain that came with an event of this segment; 0
where the event has its own."""

USER_STACK_FLAG = 0x8000
"""Set in the flags of an event that a user stack follows, behind the kernel stack's id if there is one."""

HEAD = struct.Struct("<QIHH")
"""What follows then: the stack's id, the process, how many words follow, flags."""

CUT = 1
"""A flag: the stack goes on above what was looked at."""

HERE = 2
"""A flag: registers and words follow; else they came earlier."""

FOLLOWED = 4
"""A flag: the recorder followed the return addresses; stacks of this id have them in common, and not all words."""

REGISTERS = struct.Struct("<5Q")
"""Instruction pointer, stack pointer, frame pointer, rbx, rdi. The last three are 0 where they cannot be of use: the frame
pointer and rbx where they do not point into this stack, rdi where it does not point into code."""

VALUE_BITS = 48
"""A word's low bits are what is on the stack, those above its place from the stack pointer on, in words."""

PYTHON_CODE, PYTHON_CALLED = 0xF000, 0xF001
"""In place of a place, behind the other words: a frame of Python, innermost first, by the id of its code, whose name is in a
python_code event; and that C called the frame before."""


class Cfa(enum.IntEnum):
    """How the canonical frame address, the stack pointer before the call, is had in a row. `+` is the row's offset."""

    NONE = 0  # from here on no table says anything
    SP = 1
    FP = 2
    BX = 3
    AT_SP = 4  # what is in memory at SP +
    AT_FP = 5
    PLT = 6  # SP + 8, and 8 more from the byte + of sixteen on
    OTHER = 7  # an expression that is not among these


SIGNAL = 0x80
"""Added to a row's Cfa: a signal handler's frame, whose caller was interrupted and called nothing."""


class Rule(enum.IntEnum):
    """Where a register's value before the call is."""

    SAME = 0
    AT_CFA = 1  # in memory at CFA +
    AT_SP = 2
    AT_FP = 3
    UNDEFINED = 4  # of the return address: nobody called
    OTHER = 5
    IN_DI = 6  # of the return address: vfork keeps it there while its child uses the stack


ROW = struct.Struct("<IBBBBiiii")
"""A row of a table: the file offset from which it holds, Cfa, rules of return address, frame pointer and rbx; offsets."""

NO_TABLE = (Cfa.NONE, Rule.OTHER, Rule.OTHER, Rule.OTHER, 0, 0, 0, 0)
