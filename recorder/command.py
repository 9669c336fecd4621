"""The command of `record -- COMMAND`: started paused, so that nothing of it is missed.

It waits in a forked child of this process, not in a shell or a helper program, so that the recording shows no other
program before it.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import NoReturn

__all__ = ["PausedCommand"]

POLL_S = 0.05
PATIENCE_S = 3.0  # after which it is said what is waited for


class PausedCommand:
    """The command that is recorded: forked at once, waiting at a pipe until everything is attached."""

    def __init__(self, words: list[str], stack: ExitStack) -> None:
        gate, self._release = os.pipe2(os.O_CLOEXEC)
        self._is_released = self._is_asked = False
        self.status: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _wait_and_exec(gate, self._release, words)
        os.close(gate)
        stack.callback(self._close)

    def release(self) -> None:
        """Let the command start."""
        self._is_released = True
        with contextlib.suppress(BrokenPipeError):  # it is gone already, and has_ended() says so
            os.write(self._release, b"\n")

    def has_ended(self) -> bool:
        """Tell whether the command has ended; its status is then in `status`, as a shell would give it."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.status = code if code >= 0 else 128 - code
        return self.status is not None

    def let_run(self, interrupted: Callable[[], bool]) -> None:
        """Wait until the command has ended by itself, or until `interrupted`."""
        while not self.has_ended() and not interrupted():
            time.sleep(POLL_S)

    def end(self, interrupted: Callable[[], bool], say: Callable[[str], None]) -> None:
        """Ask a command that outlives the recording to end, and wait until it has: it may have much to put in order."""
        self._ask()
        until = time.monotonic() + PATIENCE_S
        self.let_run(lambda: interrupted() or time.monotonic() > until)
        if not self.has_ended() and not interrupted():
            say(f"the command, process {self.pid}, was sent SIGTERM and has not ended yet: Ctrl-C leaves it to itself")
            self.let_run(interrupted)

    def _ask(self) -> None:
        if not self.has_ended() and not self._is_asked:
            self._is_asked = True
            os.kill(self.pid, signal.SIGTERM)

    def _close(self) -> None:
        """One that was never released reads the end of the pipe."""
        os.close(self._release)
        if self._is_released:
            self._ask()
        elif self.status is None:
            os.waitpid(self.pid, 0)


def _wait_and_exec(gate: int, release: int, words: list[str]) -> NoReturn:
    """Be the child: nothing here may return."""
    try:
        os.close(release)
        for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored_by_python, signal.SIG_DFL)
        if os.read(gate, 1):
            os.execvp(words[0], words)
    except OSError as error:
        os.write(2, f"offwake: {words[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)
