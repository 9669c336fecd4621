"""A child that keeps what the recorder gives up, for the two things that go on taking it.

/proc/TID/stack takes CAP_SYS_ADMIN, and so do the perf events of a CPU that comes online. The child was forked before any
program was loaded; it does these two things when it is asked, and ends when the recorder does, however that ends.
"""

import os
import signal
import socket
import struct
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import NoReturn

from offwake.errors import CannotRecord
from offwake.recorder.host.snapshot import kernel_stack
from offwake.recorder.kernel.perf_event import EventSpec, Opened, open_descriptor, opened
from offwake.recorder.kernel.privileges import Capability, forbid_new_privileges, keep_only

__all__ = ["Helper"]

STACK, EVENT = 0, 1
REQUEST = struct.Struct("<IIII")  # STACK, process, thread, 0; EVENT, place in `specs`, CPU, watermark
ANSWER_AT_MOST = 1 << 15
KEPT = (Capability.SYS_ADMIN, Capability.PERFMON, Capability.SYS_PTRACE, Capability.DAC_READ_SEARCH)
ENDS_THE_RECORDER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # and with it the helper, not before it


class Helper:
    """The child, until `stack` is closed. It opens no other perf events than those of `specs`."""

    def __init__(self, specs: Sequence[EventSpec], stack: ExitStack) -> None:
        self._specs = specs
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS_THE_RECORDER)
        self.pid = os.fork()
        if not self.pid:
            self._socket.close()
            _serve(theirs, specs)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        stack.callback(self._close)

    def fileno(self) -> int:
        """Return the descriptor that it is asked through."""
        return self._socket.fileno()

    def forget_answers(self) -> None:
        """Drop what it answered to a process that did not live to hear it."""
        with suppress(BlockingIOError):
            while self._socket.recv(ANSWER_AT_MOST, socket.MSG_DONTWAIT):
                pass

    def kernel_stack(self, pid: int, tid: int) -> list[str] | None:
        """Return a thread's kernel stack, leaf first, as `snapshot.kernel_stack` does; None where it cannot be had."""
        try:
            self._ask(STACK, pid, tid, 0)
            return self._socket.recv(ANSWER_AT_MOST).decode(errors="surrogateescape").splitlines() or None
        except OSError:  # it was killed
            return None

    def open_event(self, spec: EventSpec, cpu: int, watermark: int) -> Opened:
        """Open and enable an event on a CPU, as `perf_event.open_event` does."""
        try:
            self._ask(EVENT, self._specs.index(spec), cpu, watermark)
            why, descriptors, _, _ = socket.recv_fds(self._socket, ANSWER_AT_MOST, 1)
        except OSError as error:
            raise CannotRecord(f"perf events of CPU {cpu} cannot be opened: the helper is gone") from error
        if not descriptors:
            raise CannotRecord(why.decode() or f"perf events of CPU {cpu} cannot be opened: the helper is gone")
        os.set_inheritable(descriptors[0], False)
        return opened(spec, cpu, descriptors[0])

    def _ask(self, what: int, *about: int) -> None:
        self._socket.send(REQUEST.pack(what, *about), socket.MSG_NOSIGNAL)

    def _close(self) -> None:
        self._socket.close()
        os.waitpid(self.pid, 0)


def _serve(recorder: socket.socket, specs: Sequence[EventSpec]) -> NoReturn:
    """Be the child: nothing here may return."""
    try:
        for number in ENDS_THE_RECORDER:
            signal.signal(number, signal.SIG_IGN)
        forbid_new_privileges()
        keep_only(KEPT)
        while request := recorder.recv(REQUEST.size):
            what, first, second, third = REQUEST.unpack(request)
            if what == STACK:
                lines = "\n".join(kernel_stack(first, second) or ())
                recorder.send(lines.encode(errors="surrogateescape")[:ANSWER_AT_MOST])
            else:
                _open_event(recorder, specs[first], second, third)
    finally:
        os._exit(0)


def _open_event(recorder: socket.socket, spec: EventSpec, cpu: int, watermark: int) -> None:
    try:
        descriptor = open_descriptor(spec, cpu, watermark)
    except CannotRecord as error:
        recorder.send(str(error).encode())
        return
    socket.send_fds(recorder, [b"\0"], [descriptor])
    os.close(descriptor)
