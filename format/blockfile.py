"""BlockFile: one open recording, read at any offset.

Every read is a pread, so threads share it, and a file that shrinks while it is read gives short reads, where mmap would
give SIGBUS.
"""

import errno
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from offwake.errors import NotARecording, OffwakeError, UnsupportedVersion
from offwake.format import codec, values
from offwake.format.layout import (
    HEADER_SIZE,
    MAJOR,
    MINOR,
    RING_KINDS,
    SYNC,
    TRAILER_SIZE,
    BlockHeader,
    max_payload,
    unpack_trailer,
)

__all__ = ["BlockFile"]

_SCAN_STEP = 1 << 20
_PAGE = 4096


class BlockFile:
    """The bytes of one recording, as headers, frames and payloads; `size` is its length when it was opened."""

    def __init__(self, fd: int, path: Path) -> None:
        self.path = path
        self.size = os.fstat(fd).st_size
        self._fd = fd

    @classmethod
    def open(cls, path: Path) -> "BlockFile":
        """Open a regular file. Raises NotARecording for anything else, without waiting for a FIFO's writer."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            raise OffwakeError(f"{path}: cannot be opened: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise NotARecording(f"{path}: is not a regular file; give the .offwake file itself")
        return cls(fd, path)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes at `offset`, fewer where the file ended when it was opened or the disk cannot read it."""
        length = min(length, self.size - offset)
        parts = []
        while length > 0 and (part := self._pread(offset, length)):
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _pread(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._fd, length, offset)
        except OSError as error:
            if error.errno == errno.EIO:
                return b""
            raise

    def header(self, offset: int, data: bytes | None = None) -> BlockHeader | None:
        """Return the header at `offset`, from `data` where that is given; None when it is not sound.

        Raises UnsupportedVersion when the block says that this version cannot read the recording.
        """
        header = BlockHeader.unpack(self.read(offset, HEADER_SIZE) if data is None else data, offset)
        if header is not None and (header.major > MAJOR or (header.critical and not header.known)):
            raise UnsupportedVersion(
                f"{self.path}: byte {offset}: a {header} of format {header.major}.{header.minor}, "
                f"which this offwake, of format {MAJOR}.{MINOR}, cannot read; use a newer one"
            )
        return header

    def frame(self, header: BlockHeader) -> bytes:
        """Return a block's zstd frame. Raises ValueError when it is not the one that the header was made for."""
        if header.compressed_length > 2 * max_payload(header.kind):
            raise ValueError(f"states a frame of {header.compressed_length} bytes")
        frame = self.read(header.frame_offset, header.compressed_length)
        if len(frame) < header.compressed_length or zlib.crc32(frame) != header.frame_crc:
            raise ValueError("the payload's checksum is wrong")
        return frame

    def payload(self, header: BlockHeader) -> bytes:
        """Return a block's payload. Raises ValueError when it is damaged or out of bounds."""
        return codec.decompress(self.frame(header), header.raw_length, max_payload(header.kind))

    def values(self, header: BlockHeader) -> Any:
        """Return what the payload of a msgpack block says. Raises ValueError when it is damaged or out of bounds."""
        if header.kind in RING_KINDS:
            raise ValueError("a ring span holds no values")
        return values.unpack(self.payload(header))

    def trailer(self, offset: int) -> int | None:
        """Return where the FOOTER block begins, when there is a sound trailer at `offset`."""
        return unpack_trailer(self.read(offset, TRAILER_SIZE))

    def syncs(self, start: int) -> Iterator[int]:
        """Yield the offsets, from `start` on, where the sync magic says that a header may be. Holes are skipped."""
        position = start
        while (position := self._next_data(position)) < self.size:
            chunk = self.read(position, _SCAN_STEP)
            found = chunk.find(SYNC)
            while found >= 0:
                if position + found - 8 >= start:
                    yield position + found - 8
                found = chunk.find(SYNC, found + 1)
            overlap = len(SYNC) - 1
            position += len(chunk) - overlap if len(chunk) > overlap else _PAGE - position % _PAGE

    def _next_data(self, position: int) -> int:
        try:
            return os.lseek(self._fd, position, os.SEEK_DATA)
        except OSError:  # nothing but a hole up to the end
            return self.size
