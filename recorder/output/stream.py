"""Standard output, as what a recording is written into: `ssh HOST offwake record -o - > HOST.offwake`.

A pipe cannot be read back when the capture has ended, so what is to be named is gathered while it is written.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from offwake.errors import OutputError, UsageError
from offwake.format.codec import Buffer
from offwake.format.writer import Block, TraceWriter
from offwake.recorder.binaries.addresses import COLLECTED, AddressCollector, Addresses

__all__ = ["OutputStream"]


class OutputStream:
    """Standard output, given over to the recording: whatever this process or its command prints goes to standard error."""

    path = Path("-")
    folder: Path | None = None

    def __init__(self) -> None:
        if os.isatty(1):
            raise UsageError("-o -: standard output is a terminal, which a recording would only confuse; add > FILE.offwake")
        self.fd = os.dup(1)
        os.dup2(2, 1)
        os.set_blocking(self.fd, True)  # ssh gives one that is not
        self._collector = AddressCollector()

    def writer(self) -> TraceWriter:
        """Return a writer into it, which gathers addresses on the way."""
        return _CollectingWriter(self.fd, self._collector)

    def addresses(self) -> Addresses:
        """Return the addresses in what has been written."""
        return self._collector.addresses()

    def complete(self) -> None:
        """Do nothing: whoever reads the stream has it."""

    def discard(self) -> None:
        """Do nothing: nothing was written."""

    def failure(self, error: Exception) -> OutputError:
        """Say what a failed write means for the recording."""
        if isinstance(error, BrokenPipeError):
            return OutputError("standard output: whoever read it has gone; what they took is whole up to its last block")
        why = (error.strerror if isinstance(error, OSError) else None) or error
        return OutputError(f"standard output: {why}; what was written is whole up to its last block")

    def close(self) -> None:
        """Close the stream: its reader sees the end."""
        os.close(self.fd)


class _CollectingWriter(TraceWriter):
    def __init__(self, fd: int, collector: AddressCollector) -> None:
        super().__init__(fd)
        self._collector = collector

    def write(self, block: Block, payload: Buffer | Sequence[Buffer]) -> None:
        raw = payload if isinstance(payload, Buffer) else b"".join(payload)
        if block.kind in COLLECTED:
            self._collector.feed(block.kind, bytes(raw))
        super().write(block, raw)
