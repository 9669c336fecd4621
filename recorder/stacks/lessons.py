"""Lessons: what the BPF programs show user space, to be told in turn where callers are on stacks.

They come through a small ring of their own, never into the file; what finds no room there comes again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct, unpack_from

from offwake.format.records import CONTEXT_MAX, RECORD_SAMPLE

__all__ = ["ASKED_FOR", "Lesson", "lessons"]

ASKED_FOR = 0xFFFF
"""In place of a kind of event, as in user_frames.bpf.c: a return address of a process is asked for."""

RECORD = Struct("<IHHQQQ")  # type, misc, size; id, time, how many addresses of the call chain follow
HEAD = Struct("<IHHI")  # size of what follows; kind of event, of_interrupts, a number
PROGRAM_FRAMES = 2  # the BPF program, and what called it


@dataclass(frozen=True)
class Lesson:
    """The stack of an event of some kind: its words, how many bytes they are up to its top, how many of the words are the
    stack of interrupts, on top of the thread's, and the return addresses that the kernel found there, from the leaf on.
    Or, of the kind ASKED_FOR, a process and a word, the address."""

    kind: int
    of_interrupts: int
    number: int
    words: tuple[int, ...]
    chain: list[int]


def lessons(records: bytes) -> Iterator[Lesson]:
    """Yield the lessons in a span of records."""
    at = 0
    while at + RECORD.size <= len(records):
        record, _, size, _, _, count = RECORD.unpack_from(records, at)
        raw = at + RECORD.size + 8 * count
        if record == RECORD_SAMPLE and raw + HEAD.size <= at + size:
            chain = [address for address in unpack_from(f"<{count}Q", records, at + RECORD.size) if address < CONTEXT_MAX]
            length, kind, of_interrupts, number = HEAD.unpack_from(records, raw)
            words = unpack_from(f"<{(length - 8) // 8}Q", records, raw + HEAD.size)
            yield Lesson(kind, of_interrupts, number, words, chain[PROGRAM_FRAMES:])
        at += size or len(records)
