"""Bytes that may be anybody's, read piece by piece: how large a file is does not show in the memory that reading it takes.

A file is read by pread and never mapped: one that shrinks would end whoever looks at a page that it has no more. What can be
read no more, also of a network file system that has lost it, is like what lies behind the end.
"""

import lzma
import os
import stat
from contextlib import ExitStack
from typing import BinaryIO

__all__ = ["FileOctets", "Octets", "open_safely", "unpacked"]

PAGE = 4096
TEXT = 128
PIECE, UNPACKER_AT_MOST = 1 << 16, 32 << 20


class Octets:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def read(self, at: int, size: int) -> bytes:
        """Return so many bytes from `at` on, fewer where they end."""
        return self._data[at : at + size]

    def text(self, at: int, at_most: int) -> bytes:
        """Return what lies before the next NUL, at most so much of it; b"" where there is none."""
        found = b""
        while len(found) < at_most:
            piece = self.read(at + len(found), TEXT)
            text, nul, _ = piece.partition(b"\0")
            found += text
            if nul:
                break
            if not piece:
                return b""
        return found[:at_most]

    def part(self, at: int, size: int) -> "Octets":
        """Return a part of these bytes, which is read when it is asked for; what lies outside of them is left out."""
        return _Part(self, at, max(0, min(size, self.size - at)))


class _Part(Octets):
    def __init__(self, whole: Octets, at: int, size: int) -> None:
        self._whole, self._at, self.size = whole, at, size

    def read(self, at: int, size: int) -> bytes:
        return self._whole.read(self._at + at, min(size, self.size - at)) if at < self.size else b""


class FileOctets(Octets):
    """The bytes of an open file, wherever else it is being read: a child that writes a dump shares its position.

    The last two pages are kept. Of a file that has been closed there are no more bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.size = file, os.fstat(file.fileno()).st_size
        self._window, self._begin = b"", 0

    def read(self, at: int, size: int) -> bytes:
        """Return so many bytes from `at` on, fewer where they end."""
        if at >= self.size:
            return b""
        if size > PAGE:
            return self._pread(min(size, self.size - at), at)
        if not self._begin <= at <= self._begin + len(self._window) - size:
            self._begin = at - at % PAGE
            self._window = self._pread(2 * PAGE, self._begin)
        return self._window[at - self._begin : at - self._begin + size]

    def _pread(self, size: int, at: int) -> bytes:
        try:
            return os.pread(self._file.fileno(), size, at)
        except (OSError, ValueError):  # lost, or closed
            return b""


def open_safely(path: str, identity: bytes) -> BinaryIO | None:
    """Open a file that anybody may have put there: a regular one, and the one that was mapped, or None.

    It is the same one by its inode; file systems with subvolumes and overlays show another device in a mapping than in
    stat. b"" as identity stands for any. Nothing else is opened: to open a FIFO lets its writer go on, a tape is wound back
    and a watchdog set off.
    """
    inode = identity.rpartition(b":")[2]
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        facts = os.fstat(place)
        if not stat.S_ISREG(facts.st_mode) or (inode.isdigit() and int(inode) != facts.st_ino):
            return None
        return os.fdopen(os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC), "rb")
    except OSError:
        return None
    finally:
        os.close(place)


def unpacked(octets: Octets, at_most: int) -> BinaryIO:
    """Return a file without a name that holds what is packed in the format of xz, at most so many bytes of it.

    Raises lzma.LZMAError where it is damaged, and OSError where there is no room for it.
    """
    from tempfile import TemporaryFile  # takes longer to import than all the rest, and few files are packed

    unpacker = lzma.LZMADecompressor(memlimit=UNPACKER_AT_MOST)
    at, left = 0, at_most
    with ExitStack() as stack:
        file = stack.enter_context(TemporaryFile())
        while left > 0 and not unpacker.eof:
            piece = octets.read(at, PIECE) if unpacker.needs_input else b""
            if unpacker.needs_input and not piece:
                break
            at += len(piece)
            left -= file.write(unpacker.decompress(piece, min(left, PIECE)))
        file.flush()
        stack.pop_all()
        return file
