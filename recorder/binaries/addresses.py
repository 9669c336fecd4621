"""What a recording holds that is to be named and unwound: every distinct address, and every mapping that was ever seen.

Goes through a recording's blocks in their order: after the capture, through a file that was killed, or while a stream is
written, which nobody can read back.
"""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from offwake.format import values
from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from offwake.format.records import (
    CONTEXT_MAX,
    RECORD_SAMPLE,
    SAMPLE_CALLCHAIN,
    SAMPLE_RAW,
    SAMPLE_TID,
    Mmap2,
    sideband_records,
)
from offwake.format.stacks import HEAD, HERE, KERNEL_ID, KERNEL_STACK_FLAG, REGISTERS, USER_STACK_FLAG, VALUE_BITS
from offwake.recorder.binaries.files import File, Row

__all__ = ["COLLECTED", "AddressCollector", "Addresses", "addresses_of"]

KERNEL = 0xFFFF_8000_0000_0000  # x86-64 and arm64; what lies between is no address, but a frame walked into garbage
CHAINS_REMEMBERED = 200_000
ADDRESSES_AT_MOST, WORDS_WAITING, MAPPINGS_AT_MOST = 500_000, 200_000, 1 << 20
COLLECTED = (Kind.KEYFRAME, Kind.SIDEBAND, Kind.EVENTS, Kind.TICK)
"""The kinds of blocks that tell of addresses, or of when all of a second has been seen."""
RECORD = struct.Struct("<IHH")
RAW = struct.Struct("<IHH")  # size, then what opens every payload: kind, flags
VALUE = (1 << VALUE_BITS) - 1


@dataclass
class Addresses:
    """Addresses in order, and where files were mapped: start, end, file offset, process.

    Of a return address the call before it is meant, which may be the last instruction of the function before: so for
    every address the one before it is here too.
    """

    kernel: list[int] = field(default_factory=list)
    user: list[int] = field(default_factory=list)
    mappings: dict[File, set[Row]] = field(default_factory=dict)
    of_user_stacks: bool = False  # whether there are any to be unwound

    def within(self, start: int, end: int) -> list[int]:
        """Return the user addresses from `start` up to `end`."""
        return self.user[bisect_left(self.user, start) : bisect_left(self.user, end)]

    def file_offsets(self, file: File) -> set[int]:
        """Return the addresses in a file's mappings as offsets in the file."""
        return {
            address - start + offset
            for start, end, offset, _ in self.mappings[file]
            for address in self.within(start, end)
        }


def addresses_of(reader: TraceReader) -> Addresses:
    """Go through a recording that can be read back."""
    collector = AddressCollector()
    for block in reader.blocks:
        if block.kind in COLLECTED and (payload := reader.payload(block)) is not None:
            with suppress(ValueError):  # not one that was written here
                collector.feed(Kind(block.kind), payload)
    return collector.addresses()


class AddressCollector:
    """Gathers addresses from the blocks of a recording, one after another."""

    def __init__(self) -> None:
        self._found, self._layout = Addresses(), _Layout()
        self._sideband_type = 0
        self._mapped = _Ranges()
        self._distinct: set[int] = set()
        self._mappings = 0
        self._chains: set[bytes] = set()
        self._words: set[int] = set()
        self._older_words: set[int] = set()

    def feed(self, kind: Kind, payload: bytes) -> None:
        """Take a block's payload. Raises ValueError when it holds no values where it should."""
        if kind == Kind.KEYFRAME:
            self._read_keyframe(values.unpack(payload))
        elif kind == Kind.SIDEBAND:
            for record in sideband_records(payload, self._sideband_type):
                if isinstance(record, Mmap2):
                    row = (record.start, record.start + record.length, record.file_offset, record.pid)
                    self._add_mapping((record.path, record.identity), row)
        elif kind == Kind.EVENTS:
            self._read_events(payload)
        elif kind == Kind.TICK:
            self._match_words()

    def addresses(self) -> Addresses:
        """Return what has been found."""
        self._match_words()
        self._match_words()
        found = self._found
        ordered = sorted({at for address in self._distinct if 0 < address < CONTEXT_MAX for at in (address - 1, address)})
        split = bisect_left(ordered, KERNEL)
        found.user, found.kernel = ordered[:split], ordered[split:]
        return found

    def _read_keyframe(self, keyframe: dict[str, Any]) -> None:
        for event in keyframe["events"]:
            if event["name"] == "side-band":
                self._sideband_type = event["sample_type"]
            else:
                self._layout.sample_types[event["id"]] = event["sample_type"]
        self._layout.sizes |= {kind["id"]: kind["size"] for kind in keyframe["kinds"]}
        for pid, start, end, offset, index in keyframe["mappings"]:
            path, identity = keyframe["files"][index]
            self._add_mapping((path, bytes(identity)), (start, end, offset, pid))

    def _add_mapping(self, file: File, row: Row) -> None:
        rows = self._found.mappings.setdefault(file, set())
        if row not in rows and self._mappings < MAPPINGS_AT_MOST:
            self._mappings += 1
            rows.add(row)
            self._mapped.add(*row[:2])

    def _read_events(self, span: bytes) -> None:
        for chain in _chains(span, self._layout):
            if chain not in self._chains:
                if len(self._chains) >= CHAINS_REMEMBERED:
                    self._chains.clear()
                self._chains.add(chain)
                if len(self._distinct) >= ADDRESSES_AT_MOST:
                    continue
                self._distinct.update(struct.unpack(f"<{len(chain) // 8}Q", chain))
        words = self._layout.taken_words()
        self._found.of_user_stacks |= bool(words)
        self._words |= words
        if len(self._words) > WORDS_WAITING:
            self._match_words()

    def _match_words(self) -> None:
        """Keep the words that point into what is mapped. What is not yet mapped may be in the next second's side-band."""
        if len(self._distinct) < ADDRESSES_AT_MOST:  # of programs that mean harm, stacks may hold anything
            waiting = self._words | self._older_words
            matched = {word for word in waiting if word in self._mapped}
            self._distinct |= matched
            self._words -= matched
        self._older_words, self._words = self._words, set()


class _Ranges:
    """Where anything is mapped in any process."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Join a range with those that it touches."""
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]

    def __contains__(self, address: int) -> bool:
        index = bisect_right(self._starts, address) - 1
        return index >= 0 and address <= self._ends[index]  # a call may be the last instruction


@dataclass
class _Layout:
    """How to find call chains and user stacks in a recording's events."""

    sample_types: dict[int, int] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    _words: set[int] = field(default_factory=set)

    def note_words(self, span: bytes, raw: int, end: int) -> None:
        """Take the words of the user stack, if any, that follows the payload of the record's raw data at `raw`."""
        if end - raw < RAW.size:
            return
        _, kind, flags = RAW.unpack_from(span, raw)
        head = raw + 4 + self.sizes.get(kind, 0) + (KERNEL_ID.size if flags & KERNEL_STACK_FLAG else 0)
        if not flags & USER_STACK_FLAG or kind not in self.sizes or end - head < HEAD.size + REGISTERS.size:
            return
        _, _, words, stack_flags = HEAD.unpack_from(span, head)
        at = head + HEAD.size
        if stack_flags & HERE and at + REGISTERS.size + 8 * words <= end:
            self._words.update(REGISTERS.unpack_from(span, at))
            self._words.update(struct.unpack_from(f"<{words}Q", span, at + REGISTERS.size))

    def taken_words(self) -> set[int]:
        """Return what the words since the last call hold, without their places."""
        words, self._words = self._words, set()
        return {word & VALUE for word in words}


def _chains(span: bytes, layout: _Layout) -> Iterator[bytes]:
    """Yield the call chains of a span, as bytes; the layout takes what user stacks follow them."""
    at, end = 0, len(span) - 8
    unpack, word = RECORD.unpack_from, struct.Struct("<Q").unpack_from
    while at <= end:
        kind, _, length = unpack(span, at)
        if kind == RECORD_SAMPLE and 32 < length <= len(span) - at:
            sample_type = layout.sample_types.get(word(span, at + 8)[0])
            if sample_type is not None:
                stop = at + (32 if sample_type & SAMPLE_TID else 24)
                if sample_type & SAMPLE_CALLCHAIN:
                    chain, stop = stop + 8, stop + 8 + 8 * word(span, stop)[0]
                    if stop <= at + length:
                        yield span[chain:stop]
                if sample_type & SAMPLE_RAW:
                    layout.note_words(span, stop, at + length)
        if length < 8:
            return
        at += length
