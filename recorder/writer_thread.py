"""The thread that compresses and writes the blocks of a recording.

What empties the rings must not wait for a disk.
"""

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from offwake.format.writer import TraceWriter
from offwake.recorder.kernel.privileges import keep_only

__all__ = ["WriterThread"]


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
