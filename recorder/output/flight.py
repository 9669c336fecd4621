"""The flight recorder: keeps the last seconds in memory, and writes them out when it is asked to, or a wait is too long.

One dump is written at a time. Whoever asks meanwhile gets the next one; a trigger fires at most once a minute.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from offwake.errors import OffwakeError
from offwake.recorder.output.budget import Budgets
from offwake.recorder.output.control import ControlSocket
from offwake.recorder.output.dump import Dump, DumpJob, dump_path
from offwake.recorder.output.finish import Ending
from offwake.recorder.output.held import HeldBlock, HeldSegments
from offwake.recorder.pump import SegmentSize
from offwake.recorder.writer_thread import WriterThread

__all__ = ["FlightLog", "FlightRecorder", "segment_size"]

SEGMENTS_IN_WINDOW, LONGEST_SEGMENT_S = 6, 10.0
TRIGGER_EVERY_NS = 60 * 10**9


def segment_size(window_s: float, max_bytes: int) -> SegmentSize:
    """Return how long segments are to be, so that a dump is hardly longer than the window."""
    seconds = min(window_s / SEGMENTS_IN_WINDOW, LONGEST_SEGMENT_S)
    return SegmentSize(int(seconds * 1e9), max_bytes // SEGMENTS_IN_WINDOW)


@dataclass
class FlightLog:
    """What became of a flight recorder: the dumps that it wrote, and how often its trigger was pulled."""

    dumps: list[str]
    failed: int = 0
    trigger_hits: int = 0


class _Capture(Protocol):
    """The capture that is dumped."""

    @property
    def budgets(self) -> Budgets: ...

    def close_round(self) -> None: ...

    def ending(self, reason: str) -> Ending: ...

    def trigger_hits(self) -> int: ...

    def dump_signals(self) -> int: ...

    def set_helper(self, pid: int) -> None: ...


@dataclass(frozen=True)
class _Wanted:
    reason: str
    answer: Callable[[dict[str, Any]], None]


class FlightRecorder:
    """Decides when to dump, and sees to it. `say` is told what became of each dump, in a line."""

    def __init__(self, capture: _Capture, thread: WriterThread, output: Path, say: Callable[[str], None]) -> None:
        self.log = FlightLog([])
        self._capture, self._thread, self._output, self._say = capture, thread, output, say
        self._control = ControlSocket()
        self._wanted: _Wanted | None = None
        self._ending: Ending | None = None
        self._blocks: list[HeldBlock] | None = None
        self._dump: Dump | None = None
        self._signals = 0
        self._hits = 0
        self._triggered_ns: int | None = None

    def step(self) -> None:
        """Go one step on: hear who asks, begin a dump, or tell what became of one. Never waits."""
        if self._dump is None and self._wanted is None:
            self._wanted = self._next()
            if self._wanted:
                self._capture.close_round()
                self._ending = self._capture.ending(self._wanted.reason)
                self._thread.put(0, self._hold_still)
        elif self._dump is None and self._blocks is not None:
            self._begin()
        elif self._dump and self._dump.has_ended():
            self._tell(self._dump.answer or {})

    def end(self) -> FlightLog:
        """Let a dump that has begun be finished; what is held is gone."""
        if self._dump:
            self._dump.wait()
            self._tell(self._dump.answer or {})
        elif self._wanted:
            self._tell({"error": "the recorder ends"})
        self._control.close()
        self.log.trigger_hits = self._capture.trigger_hits()
        return self.log

    def _next(self) -> _Wanted | None:
        signals = self._capture.dump_signals()
        if signals > self._signals:
            self._signals = signals
            return _Wanted("SIGUSR2", lambda answer: None)
        if self._control.anybody_asks():
            return _Wanted("offwake record --dump", self._control.take())
        now, hits = time.monotonic_ns(), self._capture.trigger_hits()
        is_met, self._hits = hits > self._hits, hits  # one that is not answered now is only counted: a later dump lacks it
        if is_met and (self._triggered_ns is None or now - self._triggered_ns >= TRIGGER_EVERY_NS):
            self._triggered_ns = now
            return _Wanted("the trigger", lambda answer: None)
        return None

    def _hold_still(self) -> None:
        """Run by the thread that writes, when it has taken all that came before."""
        held = self._thread.writer
        assert isinstance(held, HeldSegments)
        self._blocks = held.blocks()

    def _begin(self) -> None:
        assert self._blocks is not None and self._ending is not None
        blocks, ending, self._blocks, self._ending = self._blocks, self._ending, None, None
        try:
            path, edit = dump_path(self._output), self._thread.writer.edit
            self._dump = Dump(DumpJob(path, blocks, ending, self._capture.budgets, edit))
        except (OffwakeError, OSError) as error:
            self._tell({"error": str(error)})
            return
        self._capture.set_helper(self._dump.pid)

    def _tell(self, answer: dict[str, Any]) -> None:
        assert self._wanted is not None
        wanted, self._wanted, self._dump = self._wanted, None, None
        self._capture.set_helper(0)
        if "path" in answer:
            self.log.dumps.append(answer["path"])
            self._say(f"{answer['path']}: dumped, for {wanted.reason}")
        else:
            self.log.failed += 1
            self._say(f"no dump for {wanted.reason}: {answer['error']}")
        wanted.answer(answer)
