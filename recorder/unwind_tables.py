"""Unwind tables of an ELF file: rows of the functions that a recording's stacks have addresses of, and of no others.

Of a file with hundreds of thousands of functions a recording meets some dozens: their entries are found by .eh_frame_hdr's
binary search table, as the C++ runtime finds them, and only they are read.
"""

import contextlib
from bisect import bisect_right
from collections.abc import Iterator

from offwake.format.user_stacks import NO_TABLE, ROW
from offwake.recorder.cfi import Common, Entry, Reader, entries, entry_at, states
from offwake.recorder.elf import ElfError, ElfImage

__all__ = ["entries_of", "unwind_rows"]

SEARCH_TABLE = 0x3B  # relative to the header, four bytes, signed
UDATA4 = 0x03
OFFSET_AT_MOST = (1 << 32) - 1


def entries_of(image: ElfImage, addresses: list[int]) -> list[Entry]:
    """Return the entries, in order, that the addresses (virtual ones, in order) lie in; none overlaps another."""
    found: list[Entry] = []
    for entry in sorted(_found(image, addresses), key=lambda entry: entry.begin):
        if not found or entry.begin >= found[-1].end:
            found.append(entry)
    return found


def unwind_rows(image: ElfImage, entries: list[Entry]) -> bytes:
    """Return the rows (format.user_stacks.ROW) of entries, in order.

    Those that cannot be read are left out, and what they cover has no table.
    """
    rows, end = [], -1
    for entry in entries:
        mine = list(_rows(image, entry))
        if mine:
            if end >= 0 and entry.begin != end and (stop := image.file_offset(end)) is not None:
                rows.append(ROW.pack(stop, *NO_TABLE))
            rows += mine
            end = entry.end
    if end >= 0 and (stop := image.file_offset(end - 1)) is not None and stop < OFFSET_AT_MOST:
        rows.append(ROW.pack(stop + 1, *NO_TABLE))
    return b"".join(rows)


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
    left, end, eh_frame = [], -1, _eh_frame(image)
    for address in addresses:
        if address < end:
            continue
        entry = eh_frame.find(address) if eh_frame else None
        if entry:
            end = entry.end
            yield entry
        else:
            left.append(address)
    if left and (section := image.debug_section(".debug_frame")):
        debug_frame = _ReadThrough(*section, is_eh=False)
        yield from filter(None, map(debug_frame.find, left))


def _eh_frame(image: ElfImage) -> "_Searched | _ReadThrough | None":
    section, header = image.section(".eh_frame"), image.section(".eh_frame_hdr")
    if section is None:
        return None
    if header and len(header[1]) >= 12 and header[1][0] == 1 and header[1][2:4] == bytes([UDATA4, SEARCH_TABLE]):
        return _Searched(section, header)
    return _ReadThrough(*section, is_eh=True)


class _Searched:
    """Finds entries of .eh_frame by its search table: pairs of a function's address and its entry's."""

    def __init__(self, section: tuple[int, bytes], header: tuple[int, bytes]) -> None:
        (self._address, self._data), (self._base, table) = section, header
        reader = Reader(table, 4, len(table))
        reader.pointer(table[1] & 15, 0)
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


class _ReadThrough:
    """Finds entries of a section without a search table, having read all of it."""

    def __init__(self, address: int, data: bytes, is_eh: bool) -> None:
        self._entries: list[Entry] = []
        with contextlib.suppress(ElfError):  # as far as it can be read
            self._entries.extend(entries(data, address, is_eh))
        self._entries.sort(key=lambda entry: entry.begin)

    def find(self, address: int) -> Entry | None:
        """Return the entry that an address lies in."""
        index = bisect_right(self._entries, address, key=lambda entry: entry.begin) - 1
        return self._entries[index] if index >= 0 and address < self._entries[index].end else None
