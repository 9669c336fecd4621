"""Signals, as something that a loop can wait for."""

import os
import signal
from contextlib import ExitStack

__all__ = ["Stopper"]


class Stopper:
    """Turns signals into a readable descriptor and a name, for as long as the capture runs."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, stack: ExitStack) -> None:
        self.fd, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.signal_name = ""
        heard = [number for number in self.SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup
        before = {number: signal.signal(number, self._note) for number in heard}
        wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        stack.callback(os.close, self.fd)
        stack.callback(os.close, write)
        for number, handler in before.items():
            stack.callback(signal.signal, number, handler)
        stack.callback(signal.set_wakeup_fd, wakeup)

    def _note(self, number: int, _frame: object) -> None:
        self.signal_name = signal.Signals(number).name
