"""Unwind tables of an ELF file: rows of the functions that a recording's stacks have addresses of, and of no others.

Of a file with hundreds of thousands of functions a recording meets some dozens: their entries are found by .eh_frame_hdr's
binary search table, as the C++ runtime finds them, and only they are read.
"""

import contextlib
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from offwake.format.stacks import NO_TABLE, ROW
from offwake.recorder.binaries.cfi import Common, Entry, Section, entries, entry_at, state_at, states
from offwake.recorder.binaries.elf import ElfError, ElfImage

__all__ = ["entries_of", "row_at", "unwind_rows"]

SEARCH_TABLE = 0x3B  # relative to the header, four bytes, signed
POINTER, UDATA4 = 0x1B, 0x03
PAIRS_AT, PAIR = 12, struct.Struct("<ii")
OFFSET_AT_MOST = (1 << 32) - 1
ENTRIES_AT_MOST = 1 << 20
PROGRAMS_AT_MOST, ROWS_AT_MOST = 4 << 20, 1 << 18
SOON_RUN_AT_MOST = 1 << 14  # bytes of a program that is run while events come in: some milliseconds
"""Bytes of call frame programs that are run for one file, and rows of it: it may be anybody's."""


def entries_of(image: ElfImage, addresses: list[int]) -> list[Entry]:
    """Return the entries, in order, that the addresses (virtual ones, in order) lie in; none overlaps another."""
    found: list[Entry] = []
    for entry in sorted(_affordable(_found(image, addresses)), key=lambda entry: entry.begin):
        if not found or entry.begin >= found[-1].end:
            found.append(entry)
    return found


def _affordable(entries: Iterator[Entry]) -> Iterator[Entry]:
    room = PROGRAMS_AT_MOST
    for entry in entries:
        room -= len(entry.program) + len(entry.common.program)
        if room < 0:
            return
        yield entry


def unwind_rows(image: ElfImage, entries: list[Entry]) -> bytes:
    """Return the rows (format.stacks.ROW) of entries, in order.

    Those that cannot be read are left out, and what they cover has no table.
    """
    rows = bytearray()
    end = 0
    for entry in _affordable(iter(entries)):
        if len(rows) > ROWS_AT_MOST * ROW.size:
            break
        mine = b"".join(_rows(image, entry))
        if mine:
            if entry.begin != end:
                rows += _end(image, end)
            rows += mine
            end = entry.end
    return bytes(rows + _end(image, end))


def row_at(image: ElfImage, offset: int) -> tuple[int, ...]:
    """Return the row (format.stacks.ROW, without its start) that holds at a file offset; NO_TABLE where none does.

    For a single address no table is read through: so too where only that could tell, and where a table is damaged or made to
    take long.
    """
    try:
        address, table = image.address(offset), _search_table(image)
        entry = table.find(address) if table and address is not None else None
        if entry is None or address is None or len(entry.program) + len(entry.common.program) > SOON_RUN_AT_MOST:
            return NO_TABLE
        return state_at(entry, address) or NO_TABLE
    except ElfError:
        return NO_TABLE


def _end(image: ElfImage, end: int) -> bytes:
    """Return the row that says that from here on no table says anything."""
    last = image.file_offset(end - 1)
    return ROW.pack(last + 1, *NO_TABLE) if last is not None and last < OFFSET_AT_MOST else b""


def _rows(image: ElfImage, entry: Entry) -> Iterator[bytes]:
    try:
        for address, row in states(entry):
            offset = image.file_offset(address)
            if offset is not None and offset < OFFSET_AT_MOST:
                yield ROW.pack(offset, *row)
    except ElfError:
        return


def _found(image: ElfImage, addresses: list[int]) -> Iterator[Entry]:
    """Yield the entries that the addresses lie in, from .eh_frame, or else from .debug_frame."""
    left, end = [], -1
    if table := _search_table(image):
        for address in addresses:
            if address >= end:
                entry = table.find(address)
                if entry:
                    end = entry.end
                    yield entry
                else:
                    left.append(address)
    elif section := image.section(".eh_frame"):
        found = list(_read_through(section, True, addresses))
        yield from found
        left = _outside(addresses, found)
    else:
        left = addresses
    if left:
        with image.with_debug_images() as images:
            if section := next(filter(None, (each.section(".debug_frame") for each in images)), None):
                yield from _read_through(section, False, left)


def _read_through(section: Section, is_eh: bool, addresses: list[int]) -> Iterator[Entry]:
    """Yield the entries of a section without a search table that any of the addresses lies in."""
    with contextlib.suppress(ElfError):  # as far as it can be read
        for entry in islice(entries(section, is_eh), ENTRIES_AT_MOST):
            index = bisect_left(addresses, entry.begin)
            if index < len(addresses) and addresses[index] < entry.end:
                yield entry


def _outside(addresses: list[int], found: list[Entry]) -> list[int]:
    ordered = sorted(found, key=lambda entry: entry.begin)

    def is_outside(address: int) -> bool:
        index = bisect_right(ordered, address, key=lambda entry: entry.begin) - 1
        return index < 0 or address >= ordered[index].end

    return [address for address in addresses if is_outside(address)]


@lru_cache(maxsize=64)
def _search_table(image: ElfImage) -> "_SearchTable | None":
    section, header = image.section(".eh_frame"), image.section(".eh_frame_hdr")
    if section and header and header[1].read(0, 4) == bytes([1, POINTER, UDATA4, SEARCH_TABLE]) and header[1].size >= 12:
        return _SearchTable(section, header)
    return None


class _SearchTable:
    """Finds entries of .eh_frame by its search table: pairs of a function's address and its entry's."""

    def __init__(self, section: Section, header: Section) -> None:
        self._section, (self._base, self._header) = section, header
        count = int.from_bytes(self._header.read(8, 4), "little")
        self._count = min(count, (self._header.size - PAIRS_AT) // PAIR.size)
        self._known: dict[int, Common] = {}

    def find(self, address: int) -> Entry | None:
        """Return the entry that an address lies in."""
        try:
            index = bisect_right(range(self._count), address - self._base, key=lambda index: self._pair(index)[0]) - 1
            if index < 0:
                return None
            at = self._base + self._pair(index)[1] - self._section[0]
            entry = entry_at(self._section, at, True, self._known)
        except ElfError:
            return None
        return entry if entry and entry.begin <= address < entry.end else None

    def _pair(self, index: int) -> tuple[int, int]:
        octets = self._header.read(PAIRS_AT + PAIR.size * index, PAIR.size)
        if len(octets) < PAIR.size:
            raise ElfError("a search table ends before its end")
        begin, entry = PAIR.unpack(octets)
        return begin, entry
