"""Signals, as something that a loop can wait for, from before anything is compiled until the process ends.

None of them interrupts what runs: a signal that comes while a program is compiled, or while symbols are written, is seen
where it can be answered cleanly. So nothing is ever left half done, and a second Ctrl-C spoils nothing.
"""

import os
import signal
from contextlib import suppress

__all__ = ["Stopper"]


class Stopper:
    """Turns signals into a readable descriptor and a name, for the rest of the process's life.

    `count` is how many came. With `dumps`, SIGUSR2 is none that ends anything: `dumps_asked` counts it.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)

    def __init__(self, dumps: bool = False) -> None:
        self.dumps_asked = self.count = 0
        self.fd, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._number = 0
        for number in self.SIGNALS:
            if number == signal.SIGPIPE or signal.getsignal(number) != signal.SIG_IGN:  # nohup; Python ignores PIPE itself
                signal.signal(number, self._note)
        if dumps:
            signal.signal(signal.SIGUSR2, self._note_dump)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    @property
    def signal_name(self) -> str:
        """The first signal that came, "" before one did."""
        return signal.Signals(self._number).name if self._number else ""

    def check(self) -> None:
        """Give up, as a shell would report it, if a signal has come: for as long as nothing is recorded."""
        if self._number:
            raise SystemExit(128 + self._number)

    def heard(self) -> None:
        """Make the descriptor unreadable again, until the next signal."""
        with suppress(BlockingIOError):
            os.read(self.fd, 4096)

    def _note_dump(self, number: int, _frame: object) -> None:
        self.dumps_asked += 1

    def _note(self, number: int, _frame: object) -> None:
        self._number = self._number or number
        self.count += 1
