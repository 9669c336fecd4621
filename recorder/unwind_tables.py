"""Unwind tables of an ELF file: rows of the functions that a recording's stacks have addresses of, and of no others.

Of a file with hundreds of thousands of functions a recording meets some dozens: their entries are found by .eh_frame_hdr's
binary search table, as the C++ runtime finds them, and only they are read.
"""

import contextlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import islice

from offwake.format.stacks import NO_TABLE, ROW
from offwake.recorder.cfi import Common, Entry, Reader, entries, entry_at, states
from offwake.recorder.elf import ElfError, ElfImage

__all__ = ["entries_of", "unwind_rows"]

SEARCH_TABLE = 0x3B  # relative to the header, four bytes, signed
POINTER, UDATA4 = 0x1B, 0x03
OFFSET_AT_MOST = (1 << 32) - 1
ENTRIES_AT_MOST = 1 << 20
PROGRAMS_AT_MOST, ROWS_AT_MOST = 4 << 20, 1 << 18
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
    rows: list[bytes] = []
    end = 0
    for entry in _affordable(iter(entries)):
        if len(rows) > ROWS_AT_MOST:
            break
        mine = list(_rows(image, entry))
        if mine:
            if entry.begin != end:
                rows += _end(image, end)
            rows += mine
            end = entry.end
    return b"".join((*rows, *_end(image, end)))


def _end(image: ElfImage, end: int) -> Iterator[bytes]:
    """Yield the row that says that from here on no table says anything."""
    last = image.file_offset(end - 1)
    if last is not None and last < OFFSET_AT_MOST:
        yield ROW.pack(last + 1, *NO_TABLE)


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
    section, header = image.section(".eh_frame"), image.section(".eh_frame_hdr")
    table = _search_table(section, header) if section and header else None
    if table:
        for address in addresses:
            if address >= end:
                entry = table.find(address)
                if entry:
                    end = entry.end
                    yield entry
                else:
                    left.append(address)
    elif section:
        found = list(_read_through(section, True, addresses))
        yield from found
        left = _outside(addresses, found)
    else:
        left = addresses
    if left and (section := image.debug_section(".debug_frame")):
        yield from _read_through(section, False, left)


def _read_through(section: tuple[int, bytes], is_eh: bool, addresses: list[int]) -> Iterator[Entry]:
    """Yield the entries of a section without a search table that any of the addresses lies in."""
    address, data = section
    with contextlib.suppress(ElfError):  # as far as it can be read
        for entry in islice(entries(data, address, is_eh), ENTRIES_AT_MOST):
            index = bisect_left(addresses, entry.begin)
            if index < len(addresses) and addresses[index] < entry.end:
                yield entry


def _outside(addresses: list[int], found: list[Entry]) -> list[int]:
    ordered = sorted(found, key=lambda entry: entry.begin)

    def is_outside(address: int) -> bool:
        index = bisect_right(ordered, address, key=lambda entry: entry.begin) - 1
        return index < 0 or address >= ordered[index].end

    return [address for address in addresses if is_outside(address)]


def _search_table(section: tuple[int, bytes], header: tuple[int, bytes]) -> "_SearchTable | None":
    _, table = header
    if len(table) >= 12 and table[:2] == bytes([1, POINTER]) and table[2:4] == bytes([UDATA4, SEARCH_TABLE]):
        return _SearchTable(section, header)
    return None


class _SearchTable:
    """Finds entries of .eh_frame by its search table: pairs of a function's address and its entry's."""

    def __init__(self, section: tuple[int, bytes], header: tuple[int, bytes]) -> None:
        (self._address, self._data), (self._base, table) = section, header
        reader = Reader(table, 8, len(table))
        count = min(reader.unsigned(4), (len(table) - reader.at) // 8)
        self._pairs = memoryview(table)[reader.at : reader.at + 8 * count].cast("i")
        self._known: dict[int, Common] = {}

    def find(self, address: int) -> Entry | None:
        """Return the entry that an address lies in."""
        index = bisect_right(range(len(self._pairs) // 2), address - self._base, key=lambda i: self._pairs[2 * i]) - 1
        if index < 0:
            return None
        at = self._base + self._pairs[2 * index + 1] - self._address
        try:
            entry = entry_at(self._data, self._address, at, True, self._known)
        except ElfError:
            return None
        return entry if entry and entry.begin <= address < entry.end else None


def row_at(image: ElfImage, offset: int) -> tuple[int, ...]:
    """Return the row (format.stacks.ROW, without its start) that holds at a file offset; NO_TABLE where none does."""
    address = image.address(offset)
    if address is None:
        return NO_TABLE
    found: tuple[int, ...] = NO_TABLE
    try:
        for entry in _found(image, [address]):
            for begin, row in states(entry):
                if begin <= address:
                    found = row
    except ElfError:
        return NO_TABLE
    return found
