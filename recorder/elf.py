"""Function symbols and build-ids of ELF files, with nothing but the standard library.

A production box carries no ELF library, and libbcc's resolver wants a live process. Only what naming an address needs is
read: program headers, .symtab, .dynsym, the compressed .gnu_debugdata of some distributions, and separate debug files.
Layouts: the System V ABI, `man 5 elf`.
"""

import lzma
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["ElfError", "ElfImage", "Function"]

DEBUG_FILES = Path("/usr/lib/debug/.build-id")
PT_LOAD, SHT_SYMTAB, SHT_NOTE, SHT_DYNSYM, SHF_EXECINSTR = 1, 2, 7, 11, 4
INFLATED_AT_MOST = 64 << 20
SHT_NOBITS, SHF_COMPRESSED, COMPRESSED_ZLIB = 8, 0x800, 1
COMPRESSION = struct.Struct("<IIQQ")  # type, reserved, size, alignment
NT_GNU_BUILD_ID, BUILD_ID_AT_MOST = 3, 64
SEGMENTS_AT_MOST = 256
NOTYPE, OBJECT, FUNC, IFUNC = 0, 1, 2, 10
IMAGE_AT_MOST = 4 << 30
DEBUG_DATA_AT_MOST = 256 << 20

SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, addr, offset, size, link, info, addralign, entsize
SEGMENT = struct.Struct("<IIQQQQQQ")  # type, flags, offset, vaddr, paddr, filesz, memsz, align
SYMBOL = struct.Struct("<IBBHQQ")  # name, info, other, section, value, size


class ElfError(Exception):
    """The bytes are no 64-bit little-endian ELF file, or a damaged one."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function: its virtual address in the file, its size (0 when the file does not say) and its name.

    One that `chooses` is called once, to say which of several others is meant (IFUNC).
    """

    address: int
    size: int
    name: str
    chooses: bool = False


@dataclass(frozen=True)
class _Section:
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int


class ElfImage:
    """An ELF file's bytes, parsed as far as asked. Raises ElfError on the first thing that is out of bounds."""

    def __init__(self, data: bytes) -> None:
        if data[:6] != b"\x7fELF\x02\x01" or len(data) > IMAGE_AT_MOST:
            raise ElfError("not a 64-bit little-endian ELF file")
        self._data = data

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
    def _sections(self) -> list[_Section]:
        at, size, count, names = self._unpack("<Q", 40)[0], *self._unpack("<HHH", 58)
        rows = [self._unpack(SECTION.format, at + index * size) for index in range(count)] if at else []
        strings = rows[names][4] if names < len(rows) else 0
        return [_Section(self._text(strings + r[0]) if strings else "", *r[1:7]) for r in rows]

    @cached_property
    def build_id(self) -> bytes:
        """The GNU build-id, b"" when there is none."""
        for section in self._sections:
            if section.type == SHT_NOTE:
                at, end = section.offset, section.offset + section.size
                while at + 12 <= end:
                    name, length, kind = self._unpack("<III", at)
                    at += 12 + -(-name // 4) * 4
                    if kind == NT_GNU_BUILD_ID and name == 4 and length <= BUILD_ID_AT_MOST:
                        return self._data[at : at + length]
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

    @cached_property
    def functions(self) -> list[Function]:
        """All functions by address, one name each, those of debug data and of separate debug files included."""
        names: dict[int, Function] = {}
        for image in self._with_debug_images():
            for function in image._own_functions():
                known = names.get(function.address)
                if known is None or _preference(function) < _preference(known):
                    names[function.address] = function
        return sorted(names.values(), key=lambda function: function.address)

    def all_names(self) -> Iterator[Function]:
        """Yield all functions with all their names."""
        for image in self._with_debug_images():
            yield from image._own_functions()

    @cached_property
    def _starts(self) -> list[int]:
        return [function.address for function in self.functions]

    def function_at(self, address: int) -> Function | None:
        """Return the function that a virtual address lies in."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        function = self.functions[index]
        return function if not function.size or address < function.address + function.size else None

    def object_address(self, name: str) -> int | None:
        """Return the virtual address of an object (not a function) that other files may use, by its name."""
        for section in self._sections:
            if section.type == SHT_DYNSYM and section.link < len(self._sections):
                strings, wanted = self._sections[section.link].offset, name.encode() + b"\0"
                table = memoryview(self._data)[section.offset : section.offset + section.size - section.size % SYMBOL.size]
                for at, info, _, _, value, _ in SYMBOL.iter_unpack(table):
                    if info & 15 == OBJECT and self._data.startswith(wanted, strings + at):
                        return int(value)
        return None

    def section(self, name: str) -> tuple[int, bytes] | None:
        """Return the address and the bytes of a section, None when there is none of this name that has any.

        What is loaded is not compressed.
        """
        for section in self._sections:
            if section.name == name and section.type != SHT_NOBITS:
                data = self._data[section.offset : section.offset + section.size]
                return section.address, _inflated(data) if section.flags & SHF_COMPRESSED and not section.address else data
        return None

    def debug_section(self, name: str) -> tuple[int, bytes] | None:
        """Return a section of this file or else of its debug files."""
        found = (image.section(name) for image in self._with_debug_images())
        return next((section for section in found if section), None)

    def _with_debug_images(self) -> Iterator["ElfImage"]:
        yield self
        for section in self._sections:
            if section.name == ".gnu_debugdata":
                try:
                    packed = self._data[section.offset : section.offset + section.size]
                    unpacker = lzma.LZMADecompressor(memlimit=DEBUG_DATA_AT_MOST)
                    yield ElfImage(unpacker.decompress(packed, max_length=DEBUG_DATA_AT_MOST))
                except (lzma.LZMAError, ElfError):
                    continue
        if self.build_id and not any(section.type == SHT_SYMTAB for section in self._sections):
            name = self.build_id.hex()
            try:
                yield ElfImage((DEBUG_FILES / name[:2] / f"{name[2:]}.debug").read_bytes())
            except (OSError, ElfError):
                return

    def _own_functions(self) -> Iterator[Function]:
        executable = {index for index, section in enumerate(self._sections) if section.flags & SHF_EXECINSTR}
        for section in self._sections:
            if section.type not in (SHT_SYMTAB, SHT_DYNSYM) or section.link >= len(self._sections):
                continue
            strings = self._sections[section.link].offset
            whole = section.size - section.size % SYMBOL.size
            if section.offset + whole > len(self._data):
                raise ElfError("a symbol table lies outside the file")
            for name, info, _, index, value, size in SYMBOL.iter_unpack(
                memoryview(self._data)[section.offset : section.offset + whole]
            ):
                kind = info & 15
                if index and (kind in (FUNC, IFUNC) or (kind == NOTYPE and index in executable)):
                    text = self._text(strings + name)
                    if text and not text.startswith((".", "$")):
                        yield Function(value, size, text, kind == IFUNC)

    def _unpack(self, layout: str, at: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(layout, self._data, at)
        except (struct.error, OverflowError) as error:
            raise ElfError(f"offset {at} lies outside the file") from error

    def _text(self, at: int) -> str:
        end = self._data.find(b"\0", at)
        return self._data[at:end].decode(errors="replace") if end >= 0 else ""


def _inflated(data: bytes) -> bytes:
    try:
        kind, _, size, _ = COMPRESSION.unpack_from(data)
        if kind == COMPRESSED_ZLIB and size <= INFLATED_AT_MOST:
            return zlib.decompressobj().decompress(data[COMPRESSION.size :], size)
    except (struct.error, zlib.error) as error:
        raise ElfError("a compressed section is damaged") from error
    return b""


def _preference(function: Function) -> tuple[bool, int, int, str]:
    """Of several names of one address take one with a size, without underscores in front, short."""
    name = function.name
    return not function.size, len(name) - len(name.lstrip("_")), len(name), name
