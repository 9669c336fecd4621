"""TraceReader: what is sound in a recording, and what is not.

A recording may come from a stranger, from a disk that failed, or from a recorder that was killed. Whatever the file
holds, the reader gives the blocks whose checksums are right, counts the rest as damage, and takes bounded memory.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from offwake.errors import DamagedRecording, NotARecording, OffwakeError, UnsupportedVersion
from offwake.format.blockfile import BlockFile
from offwake.format.layout import HEADER_SIZE, MAJOR, MINOR, RING_KINDS, SYNC, BlockHeader, Kind
from offwake.format.locate import Damage, locate

__all__ = ["Damage", "TraceReader"]


class TraceReader:
    """An open recording: a context manager, whose payloads any number of threads may read.

    `blocks` are the headers of all blocks, in the order in which they were written: the order of the file, unless
    somebody moved its blocks. `finished` tells whether the recording was ended and closed as a recorder does it;
    `footer` is what it said then. `notices` are sentences that a user should see.
    """

    def __init__(self, file: BlockFile) -> None:
        self._file = file
        located = locate(file)
        if not located.blocks:
            raise _refusal(file)
        self.size = file.size
        self.blocks: list[BlockHeader] = located.blocks
        self._damage = set(located.damage)
        self.footer: dict[str, Any] | None = self._footer()
        self.finished = located.ended and self.footer is not None
        self.notices = list(self._notices())

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a recording, whole or not.

        Raises NotARecording for anything else, UnsupportedVersion for a newer major version, and DamagedRecording when
        not one block is sound.
        """
        with ExitStack() as stack:
            file = stack.enter_context(closing(BlockFile.open(path)))
            reader = cls(file)
            stack.pop_all()
            return reader

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def damage(self) -> list[Damage]:
        """Everything found wrong so far, in the order of the file. A payload's damage is found when it is read."""
        return sorted(self._damage)

    def payload(self, header: BlockHeader) -> bytes | None:
        """Return a block's payload, or None when it is damaged."""
        try:
            return self._file.payload(header)
        except ValueError as error:
            self._note(header, error)
            return None

    def values(self, header: BlockHeader) -> Any | None:
        """Return what a msgpack block says, or None when it is damaged."""
        try:
            return self._file.values(header)
        except ValueError as error:
            self._note(header, error)
            return None

    def frame(self, header: BlockHeader) -> bytes | None:
        """Return a block's payload as it is compressed, or None when it is damaged."""
        return None if self.payload(header) is None else self._file.frame(header)

    def verify(self) -> None:
        """Read every block, so that `damage` is complete."""
        for header in self.blocks:
            if header.kind in RING_KINDS or not header.known:
                self.payload(header)
            else:
                self.values(header)

    def _note(self, header: BlockHeader, error: ValueError) -> None:
        self._damage.add(Damage(header.offset, header.end - header.offset, f"the {header} is lost: {error}"))

    def _footer(self) -> dict[str, Any] | None:
        last = self.blocks[-1]
        footer = self.values(last) if last.kind == Kind.FOOTER else None
        return footer if isinstance(footer, dict) else None

    def _notices(self) -> Iterator[str]:
        minor = max(header.minor for header in self.blocks)
        if minor > MINOR:
            yield f"written by format {MAJOR}.{minor}, read as {MAJOR}.{MINOR}: what is new in it is not shown"
        if not self.finished:
            yield "the recording was not ended: it is read up to its last whole block"
        if earlier := self.blocks[0].sequence:
            yield f"the recording begins at block {earlier}: what was before has been cut off"


def _refusal(file: BlockFile) -> OffwakeError:
    """Return why a file without one sound block is no recording that can be read."""
    head = file.read(0, HEADER_SIZE)
    major = int.from_bytes(head[32:34], "little")
    if not head:
        return NotARecording(f"{file.path}: is empty")
    if head[8:16] == SYNC and major > MAJOR:
        return UnsupportedVersion(f"{file.path}: byte 32: written by format {major}; read it with a newer offwake")
    if next(file.syncs(0), None) is not None:
        return DamagedRecording(f"{file.path}: not one of its {file.size} bytes belongs to a block that is sound")
    return NotARecording(f"{file.path}: is not an offwake recording")
