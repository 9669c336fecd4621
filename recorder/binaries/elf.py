"""ELF files, with nothing but the standard library, and no more of them in memory than what is asked for.

A production box carries no ELF library, and libbcc's resolver wants a live process. Only what naming and unwinding an
address needs is read: headers, symbol tables, call frame information, the compressed .gnu_debugdata of some distributions,
and separate debug files. Layouts: the System V ABI, `man 5 elf`.
"""

import lzma
import struct
import zlib
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property

from offwake.recorder.binaries.octets import FileOctets, Octets, open_safely, unpacked

__all__ = [
    "NAME_BITS",
    "SHF_EXECINSTR",
    "SHT_DYNSYM",
    "SHT_SYMTAB",
    "SYMBOLS_AT_MOST",
    "SYMBOLS_AT_ONCE",
    "SYMBOLS_SOON_READ",
    "ElfError",
    "ElfImage",
    "Section",
]

DEBUG_FILES = "/usr/lib/debug/.build-id"
PT_LOAD, SHT_SYMTAB, SHT_NOTE, SHT_DYNSYM, SHF_EXECINSTR = 1, 2, 7, 11, 4
INFLATED_AT_MOST = 16 << 20
SHT_NOBITS, SHF_COMPRESSED, COMPRESSED_ZLIB = 8, 0x800, 1
COMPRESSION = struct.Struct("<IIQQ")  # type, reserved, size, alignment
NT_GNU_BUILD_ID, BUILD_ID_AT_MOST = 3, 64
SEGMENTS_AT_MOST, SECTION_NAME_AT_MOST, NOTES_AT_MOST = 256, 64, 1 << 16
OBJECT = 1
IMAGE_AT_MOST = 4 << 30
DEBUG_DATA_AT_MOST = 256 << 20
SYMBOLS_AT_ONCE, SYMBOLS_AT_MOST, SYMBOLS_SOON_READ = 1 << 14, 1 << 24, 1 << 16  # of an image: it may be anybody's

SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, addr, offset, size, link, info, addralign, entsize
SEGMENT = struct.Struct("<IIQQQQQQ")  # type, flags, offset, vaddr, paddr, filesz, memsz, align
SYMBOL_BYTES, NAME_BITS = 24, (1 << 32) - 1


class ElfError(Exception):
    """The bytes are no 64-bit little-endian ELF file, or a damaged one."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section's header."""

    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int


class ElfImage:
    """An ELF file, read and parsed as far as asked. Raises ElfError on the first thing that is out of bounds."""

    def __init__(self, octets: Octets) -> None:
        if octets.read(0, 6) != b"\x7fELF\x02\x01" or octets.size > IMAGE_AT_MOST:
            raise ElfError("not a 64-bit little-endian ELF file")
        self.octets = octets

    @cached_property
    def _segments(self) -> list[tuple[int, int, int]]:
        """(virtual address, file offset, file size) of what is loaded."""
        at, size, count = self._unpack("<Q", 32)[0], *self._unpack("<HH", 54)
        found = []
        if count > SEGMENTS_AT_MOST:
            raise ElfError(f"{count} segments")
        for index in range(count):
            kind, _, offset, address, _, length, _, _ = self._unpack(SEGMENT.format, at + index * size)
            if kind == PT_LOAD:
                found.append((address, offset, length))
        return found

    @cached_property
    def sections(self) -> list[Section]:
        """All sections."""
        at, size, count, names = self._unpack("<Q", 40)[0], *self._unpack("<HHH", 58)
        rows = [self._unpack(SECTION.format, at + index * size) for index in range(count)] if at else []
        strings = rows[names][4] if names < len(rows) else 0
        return [Section(self._section_name(strings + r[0]) if strings else "", *r[1:7]) for r in rows]

    def _section_name(self, at: int) -> str:
        return self.octets.text(at, SECTION_NAME_AT_MOST).decode(errors="replace")

    @cached_property
    def build_id(self) -> bytes:
        """The GNU build-id, b"" when there is none."""
        for section in self.sections:
            if section.type == SHT_NOTE:
                at, end = section.offset, section.offset + min(section.size, NOTES_AT_MOST)
                while at + 12 <= end:
                    name, length, kind = self._unpack("<III", at)
                    at += 12 + -(-name // 4) * 4
                    if kind == NT_GNU_BUILD_ID and name == 4 and length <= BUILD_ID_AT_MOST:
                        return self.octets.read(at, length)
                    at += -(-length // 4) * 4
        return b""

    def file_offset(self, address: int) -> int | None:
        """Translate a virtual address into the offset in the file at which it is loaded from."""
        for base, offset, length in self._segments:
            if base <= address < base + length:
                return address - base + offset
        return None

    def address(self, file_offset: int) -> int | None:
        """Translate an offset in the file into the virtual address that it is loaded at."""
        for base, offset, length in self._segments:
            if offset <= file_offset < offset + length:
                return file_offset - offset + base
        return None

    def object_address(self, name: str) -> int | None:
        """Return the virtual address of an object (not a function) that other files may use, by its name.

        It is among the first symbols, or not found: this is asked while events come in.
        """
        wanted = name.encode()
        for words, names in self.symbols(SHT_DYNSYM, at_most=SYMBOLS_SOON_READ):
            for head, address in zip(words[::3], words[1::3], strict=True):
                if head >> 32 & 15 == OBJECT and self.octets.text(names + (head & NAME_BITS), len(wanted) + 1) == wanted:
                    return address
        return None

    def symbols(self, *kinds: int, at_most: int = SYMBOLS_AT_MOST) -> Iterator[tuple["array[int]", int]]:
        """Yield the symbol tables of these kinds in pieces of at most SYMBOLS_AT_ONCE, and where their names lie.

        A symbol is three words: name, info << 32, section << 48; address; size. A file has one table of a kind. Raises
        ElfError where a table lies outside.
        """
        left, seen = at_most, set[int]()
        for section in self.sections:
            if section.type not in kinds or section.type in seen or section.link >= len(self.sections):
                continue
            seen.add(section.type)
            at, end = section.offset, section.offset + section.size - section.size % SYMBOL_BYTES
            if end > self.octets.size:
                raise ElfError("a symbol table lies outside the file")
            while at < end and left > 0:
                words = array("Q", self._bytes(at, min(end - at, SYMBOLS_AT_ONCE * SYMBOL_BYTES)))
                at += len(words) * words.itemsize
                left -= len(words) // 3
                yield words, self.sections[section.link].offset

    def section(self, name: str) -> tuple[int, Octets] | None:
        """Return the address and the bytes of a section, None when there is none of this name that has any.

        What is loaded is not compressed.
        """
        for section in self.sections:
            if section.name == name and section.type != SHT_NOBITS:
                part = self.octets.part(section.offset, section.size)
                return section.address, _inflated(part) if section.flags & SHF_COMPRESSED and not section.address else part
        return None

    @contextmanager
    def with_debug_images(self) -> Iterator[list["ElfImage"]]:
        """Give this image and those of its debug data and of its separate debug file, which are open as long."""
        images = [self]
        with ExitStack() as stack:
            if section := next((section for section in self.sections if section.name == ".gnu_debugdata"), None):
                with suppress(lzma.LZMAError, OSError, ElfError):
                    packed = self.octets.part(section.offset, section.size)
                    debug_data = stack.enter_context(unpacked(packed, DEBUG_DATA_AT_MOST))
                    images.append(ElfImage(FileOctets(debug_data)))
            if self.build_id and not any(section.type == SHT_SYMTAB for section in self.sections):
                name = self.build_id.hex()
                if debug_file := open_safely(f"{DEBUG_FILES}/{name[:2]}/{name[2:]}.debug", b""):
                    with suppress(ElfError):
                        images.append(ElfImage(FileOctets(stack.enter_context(debug_file))))
            yield images

    def _unpack(self, layout: str, at: int) -> tuple[int, ...]:
        return struct.unpack(layout, self._bytes(at, struct.calcsize(layout)))

    def _bytes(self, at: int, size: int) -> bytes:
        found = self.octets.read(at, size)
        if len(found) < size:
            raise ElfError(f"offset {at} lies outside the file")
        return found


def _inflated(octets: Octets) -> Octets:
    try:
        kind, _, size, _ = COMPRESSION.unpack(octets.read(0, COMPRESSION.size))
        if kind == COMPRESSED_ZLIB and size <= INFLATED_AT_MOST:
            packed = octets.read(COMPRESSION.size, min(octets.size, INFLATED_AT_MOST))
            return Octets(zlib.decompressobj().decompress(packed, size))
    except (struct.error, zlib.error) as error:
        raise ElfError("a compressed section is damaged") from error
    return Octets(b"")
