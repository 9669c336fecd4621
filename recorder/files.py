"""The files of a recording's mappings, held on to while they can still be had.

A program may be gone, or replaced by another of its name, a moment after it was mapped; in a container its path means
something only under its own root.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from offwake.format.records import Mmap2
from offwake.recorder.elf import ElfError, ElfImage

__all__ = ["KALLSYMS", "MODULES", "File", "FileKeeper", "Row", "open_safely"]

KALLSYMS, MODULES = "/proc/kallsyms", "/proc/modules"
READ_AT_ONCE = 1 << 16
FILES_KEPT_OPEN = 512
MAPPINGS_TRIED = 8
FILE_AT_MOST = 1 << 30

File = tuple[str, bytes]
"""Path, identity (see Mmap2.identity)."""
Row = tuple[int, int, int, int]
"""A mapping: start, end, file offset, process."""


class FileKeeper:
    """Mapped files, opened while they can still be reached: a program may be gone or replaced a moment later."""

    def __init__(self) -> None:
        self._open: dict[File, Any] = {}
        self._kernel: dict[str, int] = {}
        self._images: dict[File, ElfImage | None] = {}

    def keep(self, record: Mmap2) -> None:
        """Open the file that a process has just mapped, through that process's own root."""
        key = (record.path, record.identity)
        if key in self._open:
            self._open[key] = self._open.pop(key)
        if key in self._open or not record.path.startswith("/"):
            return
        for root in (f"/proc/{record.pid}/root", ""):
            opened = open_safely(root + record.path, record.identity)
            if opened:
                self._open[key] = opened
                break
        if len(self._open) > FILES_KEPT_OPEN:
            self._open.pop(next(iter(self._open))).close()  # what was mapped least lately

    def read(self, file: File, mappings: Iterable[Row]) -> bytes | None:
        """Return a mapped file's bytes, if it can still be had, from among `mappings` of it.

        One that has no name any more, replaced by an upgrade or made by memfd_create, can be had through a mapping.
        """
        path, identity = file
        if path == "[vdso]":
            return _own_vdso()
        kept = self._open.get(file)
        places: list[str] = []
        if path.startswith("/") and not kept:
            some = list(islice(mappings, MAPPINGS_TRIED))
            named = path.removesuffix(" (deleted)")
            places += [f"/proc/{pid}/root{named}" for *_, pid in some] + [named]
            places += [f"/proc/{pid}/map_files/{start:x}-{end:x}" for start, end, _, pid in some]
        opened = kept or next(filter(None, (open_safely(place, identity) for place in places)), None)
        if opened is None:
            return None
        try:
            return _read_all(opened.fileno())
        except OSError:  # a network file system that has lost it
            return None
        finally:
            if opened is not kept:
                opened.close()

    def image(self, file: File, mappings: Iterable[Row]) -> ElfImage | None:
        """Return a mapped file as `read` does, parsed as far as asked; None where it is none or cannot be had."""
        if file not in self._images:
            data = self.read(file, mappings)
            try:
                self._images[file] = ElfImage(data) if data else None
            except ElfError:
                self._images[file] = None
        return self._images[file]

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


def _read_all(fd: int) -> bytes:
    """Read a file from its start, wherever else it is being read: a child that writes a dump shares its position."""
    size, data = min(os.fstat(fd).st_size, FILE_AT_MOST), b""
    while len(data) < size and (part := os.pread(fd, size - len(data), len(data))):
        data = data + part if data else part
    return data


def open_safely(path: str, identity: bytes) -> BinaryIO | None:
    """Open a file that anybody may have put there: a regular one, and the one that was mapped, or None.

    It is the same one by its inode; file systems with subvolumes and overlays show another device in a mapping than in
    stat. b"" as identity stands for any. Opening never waits for the writer of a FIFO.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    facts = os.fstat(fd)
    inode = identity.rpartition(b":")[2]
    if not stat.S_ISREG(facts.st_mode) or (inode.isdigit() and int(inode) != facts.st_ino):
        os.close(fd)
        return None
    return os.fdopen(fd, "rb")


def _own_vdso() -> bytes | None:
    """Return the vDSO's image: the kernel maps the same one into every process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("[vdso]"):
            start, _, end = line.split()[0].partition("-")
            with open("/proc/self/mem", "rb") as memory:
                memory.seek(int(start, 16))
                return memory.read(int(end, 16) - int(start, 16))
    return None
