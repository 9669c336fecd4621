"""What a recording holds that is to be named and unwound: every distinct address, and every mapping that was ever seen.

Reads the recording itself, so that the same can be done for one that was killed.
"""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

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
from offwake.recorder.files import File, Row

__all__ = ["Addresses", "addresses_of"]

KERNEL = 0xFFFF_8000_0000_0000  # x86-64 and arm64; what lies between is no address, but a frame walked into garbage
CHAINS_REMEMBERED = 200_000
ADDRESSES_AT_MOST = 500_000
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
    """Go through a recording: first for what is mapped, then for what lies there."""
    found, layout = Addresses(), _Layout()
    _read_mappings(reader, found, layout)
    mapped = _Ranges(row for rows in found.mappings.values() for row in rows)
    distinct, chains = set[int](), set[bytes]()
    for block in reader.blocks:
        if block.kind == Kind.EVENTS and (span := reader.payload(block)):
            for chain in _chains(span, layout):
                if chain not in chains:
                    if len(chains) >= CHAINS_REMEMBERED:
                        chains.clear()
                    chains.add(chain)
                    distinct.update(struct.unpack(f"<{len(chain) // 8}Q", chain))
            words = layout.taken_words()
            found.of_user_stacks |= bool(words)
            if len(distinct) < ADDRESSES_AT_MOST:  # of programs that mean harm, stacks may hold anything
                distinct.update(word for word in words if word in mapped)
    ordered = sorted({at for address in distinct if 0 < address < CONTEXT_MAX for at in (address - 1, address)})
    split = bisect_left(ordered, KERNEL)
    found.user, found.kernel = ordered[:split], ordered[split:]
    return found


def _read_mappings(reader: TraceReader, found: Addresses, layout: "_Layout") -> None:
    sideband_type = 0
    for block in reader.blocks:
        if block.kind == Kind.KEYFRAME and (keyframe := reader.values(block)):
            for event in keyframe["events"]:
                if event["name"] == "side-band":
                    sideband_type = event["sample_type"]
                else:
                    layout.sample_types[event["id"]] = event["sample_type"]
            layout.sizes |= {kind["id"]: kind["size"] for kind in keyframe["kinds"]}
            for pid, start, end, offset, index in keyframe["mappings"]:
                path, identity = keyframe["files"][index]
                found.mappings.setdefault((path, bytes(identity)), set()).add((start, end, offset, pid))
        elif block.kind == Kind.SIDEBAND and (span := reader.payload(block)):
            for record in sideband_records(span, sideband_type):
                if isinstance(record, Mmap2):
                    row = (record.start, record.start + record.length, record.file_offset, record.pid)
                    found.mappings.setdefault((record.path, record.identity), set()).add(row)


class _Ranges:
    """Where anything is mapped in any process."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in sorted({(start, end) for start, end, *_ in rows}):
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

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
