"""The files of a recording's mappings, held on to while they can still be had.

A program may be gone, or replaced by another of its name, a moment after it was mapped; in a container its path means
something only under its own root.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from offwake.format.records import Mmap2
from offwake.recorder.binaries.elf import ElfError, ElfImage
from offwake.recorder.binaries.octets import FileOctets, Octets, open_safely

__all__ = ["KALLSYMS", "MODULES", "File", "FileKeeper", "Row"]

KALLSYMS, MODULES = "/proc/kallsyms", "/proc/modules"
READ_AT_ONCE = 1 << 16
FILES_KEPT_OPEN, IMAGES_KEPT = 512, 64
MAPPINGS_TRIED = 8

File = tuple[str, bytes]
"""Path, identity (see Mmap2.identity)."""
Row = tuple[int, int, int, int]
"""A mapping: start, end, file offset, process."""


class FileKeeper:
    """Mapped files, opened while they can still be reached: a program may be gone or replaced a moment later."""

    def __init__(self) -> None:
        self._open: dict[File, BinaryIO] = {}
        self._kernel: dict[str, int] = {}
        self._images: dict[File, ElfImage] = {}

    def keep(self, record: Mmap2) -> None:
        """Open the file that a process has just mapped, through that process's own root."""
        key = (record.path, record.identity)
        if key in self._open:
            self._open[key] = self._open.pop(key)
        if key in self._open or not record.path.startswith("/"):
            return
        self._keep(key, (root + record.path for root in (f"/proc/{record.pid}/root", "")))

    def image(self, file: File, mappings: Iterable[Row]) -> ElfImage | None:
        """Return a mapped ELF file, if it is one and can still be had, from among `mappings` of it.

        One that has no name any more, replaced by an upgrade or made by memfd_create, can be had through a mapping. It can
        be read until more files are kept.
        """
        if file not in self._images:
            octets = _own_vdso() if file[0] == "[vdso]" else self._octets(file, mappings)
            with suppress(ElfError):
                if octets:
                    self._images[file] = ElfImage(octets)
            if len(self._images) > IMAGES_KEPT:
                self._images.pop(next(iter(self._images)))
        return self._images.get(file)

    def _octets(self, file: File, mappings: Iterable[Row]) -> Octets | None:
        path, identity = file
        if file not in self._open and path.startswith("/"):
            some = list(islice(mappings, MAPPINGS_TRIED))
            named = path.removesuffix(" (deleted)")
            places = [f"/proc/{pid}/root{named}" for *_, pid in some] + [named]
            places += [f"/proc/{pid}/map_files/{start:x}-{end:x}" for start, end, _, pid in some]
            self._keep(file, places)
        return FileOctets(self._open[file]) if file in self._open else None

    def _keep(self, file: File, places: Iterable[str]) -> None:
        opened = next(filter(None, (open_safely(place, file[1]) for place in places)), None)
        if opened:
            self._open[file] = opened
        if len(self._open) > FILES_KEPT_OPEN:  # what was mapped least lately
            least = next(iter(self._open))
            self._images.pop(least, None)
            self._open.pop(least).close()

    def keep_kernel(self) -> None:
        """Open what tells where the kernel's code lies: it shows addresses by the rights of whoever opened it."""
        for path in (KALLSYMS, MODULES):
            if path not in self._kernel:
                with suppress(OSError):  # a kernel may have none
                    self._kernel[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def kernel(self, path: str) -> Iterator[str]:
        """Yield the lines of KALLSYMS or MODULES, as they are now; also in a fork, at the same time as its parent."""
        self.keep_kernel()
        at, rest = 0, b""
        while path in self._kernel and (octets := os.pread(self._kernel[path], READ_AT_ONCE, at)):
            *lines, rest = (rest + octets).split(b"\n")
            at += len(octets)
            yield from (line.decode(errors="replace") for line in lines)

    def close(self) -> None:
        """Close all files."""
        while self._kernel:
            os.close(self._kernel.popitem()[1])
        for opened in self._open.values():
            opened.close()
        self._open.clear()
        self._images.clear()


def _own_vdso() -> Octets | None:
    """Return the vDSO's image: the kernel maps the same one into every process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("[vdso]"):
            start, _, end = line.split()[0].partition("-")
            with open("/proc/self/mem", "rb") as memory:
                memory.seek(int(start, 16))
                return Octets(memory.read(int(end, 16) - int(start, 16)))
    return None
