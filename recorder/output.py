"""The file that a recording becomes, and the thread that compresses and writes its blocks.

The output belongs to whoever called sudo, is readable by nobody else from its first byte, and bears its final name only
when it is complete.
"""

import contextlib
import ctypes
import errno
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from offwake.errors import OutputError
from offwake.format.reader import TraceReader
from offwake.format.writer import TraceWriter
from offwake.recorder.addresses import Addresses, addresses_of
from offwake.recorder.privileges import keep_only

__all__ = ["Output", "OutputFile", "WriterThread"]


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


class WriterThread:
    """Runs the TraceWriter's calls one after another, away from the thread that empties the rings.

    The bytes that wait are bounded by its user, who stops emptying the rings when `pending_bytes` is high: the kernel then
    counts what finds no room. After an error it drops what follows and keeps the error in `error`.
    """

    def __init__(self, writer: TraceWriter) -> None:
        self.writer = writer
        self.error: Exception | None = None
        self.pending_bytes = 0
        self._jobs: queue.SimpleQueue[tuple[int, Callable[..., None], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="offwake-writer", daemon=True)
        self._thread.start()

    def put(self, size: int, call: Callable[..., None], *arguments: Any) -> None:
        """Queue one of the writer's methods; `size` is about how much memory its arguments hold."""
        with self._lock:
            self.pending_bytes += size
        self._jobs.put((size, call, arguments))

    def _work(self) -> None:
        keep_only()  # it writes into an open file, and nothing else
        while job := self._jobs.get():
            size, call, arguments = job
            if self.error is None:
                try:
                    call(*arguments)
                except Exception as error:  # whatever it is: a thread that dies would leave its user waiting
                    self.error = error
            with self._lock:
                self.pending_bytes -= size

    def finish(self) -> None:
        """Wait until everything queued is written."""
        self._jobs.put(None)
        self._thread.join()

    def __enter__(self) -> "WriterThread":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._thread.is_alive():
            self.finish()
