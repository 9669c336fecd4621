"""The file that a recording becomes.

The output belongs to whoever called sudo, is readable by nobody else from its first byte, and bears its final name only
when it is complete.
"""

import contextlib
import ctypes
import errno
import os
from pathlib import Path
from typing import Protocol

from offwake.errors import OutputError
from offwake.format.reader import TraceReader
from offwake.format.writer import TraceWriter
from offwake.recorder.binaries.addresses import Addresses, addresses_of

__all__ = ["Output", "OutputFile"]


class Output(Protocol):
    """Where a recording goes."""

    path: Path
    folder: Path | None  # in which it gets its name
    fd: int

    def writer(self) -> TraceWriter:
        """Return a writer into it; one for the whole recording."""

    def addresses(self) -> Addresses:
        """Return the addresses in what has been written."""

    def complete(self) -> None:
        """Everything is written: make the recording durable, under its name."""

    def discard(self) -> None:
        """Nothing was recorded: leave nothing behind."""

    def failure(self, error: Exception) -> OutputError:
        """Say what a failed write means for the recording."""

    def close(self) -> None:
        """Close it."""


RENAME_NOREPLACE = 1  # include/uapi/linux/fs.h
_libc = ctypes.CDLL(None, use_errno=True)


class OutputFile:
    """`PATH.part` while it is written; `PATH` after `complete()`. Raises OutputError where it cannot be had.

    The folder is held open: whatever happens to the path on the way to it, the file stays and is named where it was created.
    """

    def __init__(self, path: Path) -> None:
        if not path.name:
            raise OutputError(f"-o {path}: that is no name for a file")
        self.path = path
        self.folder: Path | None = path.parent
        self.part = path.with_name(path.name + ".part")
        if os.path.lexists(path):
            raise OutputError(f"{path} exists already; remove it or choose another name with -o")
        try:
            self._folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self.fd = os.open(self.part.name, flags, 0o600, dir_fd=self._folder)
        except FileExistsError as error:
            raise OutputError(
                f"{self.part} exists already: what a killed recording left; "
                f"`offwake recover {self.part} -o {path}` makes it whole, or remove it"
            ) from error
        except OSError as error:
            raise OutputError(
                f"{self.part} cannot be created: {error.strerror}; choose another place with -o"
            ) from error
        with contextlib.suppress(OSError, ValueError):
            os.fchown(self.fd, int(os.environ.get("SUDO_UID", os.getuid())), int(os.environ.get("SUDO_GID", -1)))

    def writer(self) -> TraceWriter:
        """Return a writer into it."""
        return TraceWriter(self.fd)

    def addresses(self) -> Addresses:
        """Read back the addresses in what has been written."""
        with TraceReader.open(self.part) as reader:
            return addresses_of(reader)

    def complete(self) -> None:
        """Make the file durable and give it its final name, unless that has been taken meanwhile."""
        os.fsync(self.fd)
        try:
            _rename(self._folder, self.part.name, self.path.name)
        except FileExistsError as error:
            raise OutputError(f"{self.path} was created meanwhile; the recording is whole in {self.part}") from error

    def discard(self) -> None:
        """Remove the file: nothing was recorded."""
        os.unlink(self.part.name, dir_fd=self._folder)

    def failure(self, error: Exception) -> OutputError:
        """Say what a failed write means for the recording."""
        why = (error.strerror if isinstance(error, OSError) else None) or error
        if not os.fstat(self.fd).st_size:
            self.discard()
            return OutputError(f"{self.path}: {why}; nothing was recorded")
        return OutputError(
            f"{self.part}: {why}; what was written before can be read, "
            f"and `offwake recover` makes a finished file of what is sound"
        )

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self.fd)
        os.close(self._folder)


def _rename(folder: int, old: str, new: str) -> None:
    """Rename a file in an open folder, but never over another, if the file system can do so (renameat2(2))."""
    if _libc.renameat2(folder, os.fsencode(old), folder, os.fsencode(new), RENAME_NOREPLACE):
        error = ctypes.get_errno()
        if error not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(error, os.strerror(error), old)
        os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)
