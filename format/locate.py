"""Where the blocks of a file are, whatever happened to it.

The next block begins where the last one ends. Where no sound header is found there, the index may hold a copy of it;
where it holds none, or there is no index, the bytes are searched for the sync magic.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from offwake.format.blockfile import BlockFile
from offwake.format.layout import HEADER_SIZE, RING_KINDS, TRAILER_SIZE, BlockHeader, Kind

__all__ = ["Damage", "Located", "locate"]

_MAX_FALSE_STARTS = 1 << 20
"""A file made of sync magics gets no more headers looked at than this: a second of work."""


@dataclass(frozen=True, order=True)
class Damage:
    """Something that is wrong with the file: `length` bytes at `offset`, or 0 bytes where blocks are missing."""

    offset: int
    length: int
    what: str


@dataclass
class Located:
    """The sound headers in the order in which they were written, and what was found wrong on the way.

    `ended` tells whether a sound trailer follows the FOOTER block, the last one.
    """

    blocks: list[BlockHeader] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    ended: bool = False


def locate(file: BlockFile) -> Located:
    """Find every block of the file. Raises UnsupportedVersion when one of them asks for a newer offwake."""
    walk = _Walk(file, _index(file))
    found = walk.found
    found.blocks = _in_sequence(found)
    found.damage += _gaps(found.blocks)
    found.damage += _breaks(found.blocks)
    return found


def _index(file: BlockFile) -> dict[int, bytes]:
    """Return the copies of headers that the index holds, by offset: those that can be reached from the trailer."""
    copies: dict[int, bytes] = {}
    footer_offset = file.trailer(file.size - TRAILER_SIZE) if file.size >= TRAILER_SIZE else None
    if footer_offset is None:
        return copies
    link: Any = _values_at(file, footer_offset).get("index_offset")
    end = footer_offset
    while isinstance(link, int) and 0 <= link < end:
        end, index = link, _values_at(file, link)
        link = index.get("previous")
        entries = index.get("entries")
        for entry in entries if isinstance(entries, list) else ():
            match entry:
                case [int() as offset, bytes() as header, *_]:
                    copies[offset] = header
    return copies


def _values_at(file: BlockFile, offset: int) -> dict[Any, Any]:
    header = file.header(offset)
    try:
        values = file.values(header) if header else None
    except ValueError:  # the walk comes to this block too, and its reader will say what is wrong with it
        values = None
    return values if isinstance(values, dict) else {}


class _Walk:
    """One pass over the file, from its first byte to its last."""

    def __init__(self, file: BlockFile, index: dict[int, bytes]) -> None:
        self.found = Located()
        self._file = file
        self._index = index
        self._file_id: bytes | None = None
        self._false_starts = 0
        position = 0
        while position < file.size:
            header = self._header(position)
            if header is not None:
                self.found.blocks.append(header)
                position = header.end if header.end <= file.size else self._resume(header.end)
            elif self._is_trailer(position):
                self.found.ended = True
                position += TRAILER_SIZE
            else:
                position = self._resume(position)

    def _header(self, position: int) -> BlockHeader | None:
        data, copy = self._file.read(position, HEADER_SIZE), self._index.get(position)
        header = self._own(position, data)
        if copy is None or copy == data:
            return header
        if header is not None:
            self._damage(position, HEADER_SIZE, f"the index says that another block begins here than this {header}")
            return header
        header = self._own(position, copy)
        if header is not None:
            self._damage(position, HEADER_SIZE, f"the header of the {header} is damaged; the index has a copy of it")
        return header

    def _own(self, position: int, data: bytes) -> BlockHeader | None:
        """Return the header that `data` holds, if it is sound and of this recording."""
        header = self._file.header(position, data)
        if header is None:
            return None
        if self._file_id is None:
            self._file_id = header.file_id
        return header if header.file_id == self._file_id else None

    def _is_trailer(self, position: int) -> bool:
        last = self.found.blocks[-1] if self.found.blocks else None
        return last is not None and last.kind == Kind.FOOTER and self._file.trailer(position) == last.offset

    def _resume(self, position: int) -> int:
        """Return where the next sound header is, after there was none at `position`.

        The search begins inside the last block: where bytes were cut out of it, the next header is before its end.
        """
        last = self.found.blocks[-1] if self.found.blocks else None
        start = last.frame_offset if last is not None and last.end == position else position
        found = self._scan(start)
        if last is not None and found < last.end:
            self.found.blocks.pop()
            self._damage(last.offset, found - last.offset, f"the {last} is cut short")
        else:
            self._damage(position, found - position, "no sound block")
        return found

    def _scan(self, start: int) -> int:
        for offset in self._file.syncs(start):
            if self._own(offset, self._file.read(offset, HEADER_SIZE)):
                return offset
            self._false_starts += 1
            if self._false_starts > _MAX_FALSE_STARTS:
                break
        return self._file.size

    def _damage(self, offset: int, length: int, what: str) -> None:
        self.found.damage.append(Damage(offset, length, what))


def _in_sequence(found: Located) -> list[BlockHeader]:
    """Return the blocks in the order in which they were written, each once, and note those that were elsewhere."""
    blocks: dict[int, BlockHeader] = {}
    latest = -1
    for header in found.blocks:
        if header.sequence in blocks:
            what = f"the {header} repeats block {header.sequence}: left out"
        else:
            what = f"the {header} is out of its place: put back" if header.sequence < latest else ""
            blocks[header.sequence] = header
            latest = max(latest, header.sequence)
        if what:
            found.damage.append(Damage(header.offset, header.end - header.offset, what))
    return [blocks[sequence] for sequence in sorted(blocks)]


def _gaps(blocks: list[BlockHeader]) -> Iterator[Damage]:
    """Yield where blocks are missing, by their numbers in the file. A file that was cut may begin at any KEYFRAME."""
    if blocks and blocks[0].sequence and blocks[0].kind != Kind.KEYFRAME:
        yield Damage(blocks[0].offset, 0, f"{_count(blocks[0].sequence, 'block')} missing at the beginning")
    for before, after in pairwise(blocks):
        missing = after.sequence - before.sequence - 1
        if missing:
            yield Damage(after.offset, 0, f"{_count(missing, 'block')} missing before the {after}")


def _breaks(blocks: list[BlockHeader]) -> Iterator[Damage]:
    """Yield where a CPU's ring, or the blocks of one kind, do not go on where the last block of theirs ended."""
    last: dict[tuple[int, int], BlockHeader] = {}
    for after in blocks:
        before = last.get((after.kind, after.stream))
        last[after.kind, after.stream] = after
        if before is None:
            continue
        blocks_missing = after.stream_sequence - before.stream_sequence - 1
        bytes_missing = after.ring_tail - before.ring_head if after.kind in RING_KINDS else 0
        if bytes_missing < 0:
            yield Damage(after.offset, 0, f"the ring begins anew with this {after}: what was between is missing")
        elif blocks_missing or bytes_missing:
            lost = f"{_count(blocks_missing, 'block')} of its kind and {_count(bytes_missing, 'byte')} of its ring"
            yield Damage(after.offset, 0, f"{lost} missing before this {after}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
