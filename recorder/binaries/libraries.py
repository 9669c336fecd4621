"""Libraries and programs that run: the files that any process has mapped, each once, and the functions in them.

A container has its own C library: its path means something only under the container's root, so a file is known by device and
inode and opened through a process that maps it. Containers of one image have the same file, through an overlay each, which
shows another device; probes in it are those of all of them.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO

from offwake.recorder.binaries.elf import (
    NAME_BITS,
    SHF_EXECINSTR,
    SHT_DYNSYM,
    SHT_SYMTAB,
    SYMBOLS_AT_MOST,
    ElfError,
    ElfImage,
)
from offwake.recorder.binaries.octets import FileOctets, open_safely
from offwake.recorder.host.snapshot import Mapping, mappings_of, processes

__all__ = ["MappedFiles", "mapped_files", "sites_of"]

NOTYPE, FUNC = 0, 2
NAME_AT_MOST = 1 << 12


def mapped_files(wanted: Callable[[str], bool]) -> Iterator[tuple[str, BinaryIO]]:
    """Open every executable mapped file whose path is wanted, as MappedFiles does."""
    return MappedFiles(wanted).scan()


class MappedFiles:
    """Opens executable mapped files whose path is wanted, each once: its path, as its processes see it, and the file."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self._wanted = wanted
        self._identities: set[bytes] = set()
        self._files: set[tuple[int, int, int]] = set()

    def scan(self) -> Iterator[tuple[str, BinaryIO]]:
        """Open what processes have mapped now."""
        for pid in processes():
            for mapping in mappings_of(pid):
                if found := self.open(pid, mapping):
                    yield found

    def open(self, pid: int, mapping: Mapping) -> tuple[str, BinaryIO] | None:
        """Open the file of a process's mapping; None if it is not wanted, was opened before, or cannot be had."""
        *_, path, identity = mapping
        path = path.removesuffix(" (deleted)")
        if identity in self._identities or not path.startswith("/") or not self._wanted(path):
            return None
        opened = _opened(pid, path, mapping)
        if opened:
            self._identities.add(identity)
            facts = os.fstat(opened.fileno())
            itself = facts.st_ino, facts.st_size, facts.st_ctime_ns  # as all overlays show it
            if itself not in self._files:
                self._files.add(itself)
                return path, opened
            opened.close()
        return None


def sites_of(
    file: BinaryIO, wanted: Callable[[str], bool], at_most: int = SYMBOLS_AT_MOST
) -> list[tuple[str, int]]:
    """Return the names and file offsets of the functions in a file whose name is wanted; each place once.

    The first `at_most` symbols are looked at. A function that only chooses which of several others is called (an IFUNC) is
    none: it is called once.
    """
    found: dict[int, str] = {}
    image = ElfImage(FileOctets(file))
    with suppress(ElfError), image.with_debug_images() as images:
        for each in images:
            executable = {index for index, section in enumerate(each.sections) if section.flags & SHF_EXECINSTR}
            for words, names in each.symbols(SHT_SYMTAB, SHT_DYNSYM, at_most=at_most):
                for head, address in zip(words[::3], words[1::3], strict=True):
                    section, kind = head >> 48, head >> 32 & 15
                    if section and (kind == FUNC or (kind == NOTYPE and section in executable)):
                        name = each.octets.text(names + (head & NAME_BITS), NAME_AT_MOST).decode(errors="replace")
                        if wanted(name):
                            found.setdefault(address, name)
        placed = [(name, image.file_offset(address)) for address, name in sorted(found.items())]
        return [(name, offset) for name, offset in placed if offset is not None]
    return []


def _opened(pid: int, path: str, mapping: Mapping) -> BinaryIO | None:
    start, end, _, _, identity = mapping
    places = (f"/proc/{pid}/root{path}", f"/proc/{pid}/map_files/{start:x}-{end:x}")
    return next(filter(None, (open_safely(place, identity) for place in places)), None)
