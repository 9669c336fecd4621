"""The one selection object: which threads, which time, which waits. Every view, table, command and page uses it."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.intervals import BLOCKED, OPEN_BEGIN, OPEN_END
from offwake.analyzer.replay import Replay
from offwake.errors import UsageError

__all__ = ["Selection"]

THROUGHOUT = OPEN_BEGIN | OPEN_END


@dataclass(frozen=True)
class Selection:
    """What to look at. None means no restriction.

    `begin_ns` and `end_ns` are nanoseconds since the recording's start; intervals are clipped to them. `grep` is a
    regular expression that some frame of a stack must match. `show_all` brings back threads that slept throughout.
    """

    pid: int | None = None
    tid: int | None = None
    comm: str | None = None
    begin_ns: int | None = None
    end_ns: int | None = None
    grep: str | None = None
    show_all: bool = False

    @cached_property
    def frame_pattern(self) -> re.Pattern[str] | None:
        """The compiled `grep`. Raises UsageError where it is no regular expression."""
        if self.grep is None:
            return None
        try:
            return re.compile(self.grep)
        except re.error as error:
            raise UsageError(f"--grep {self.grep!r} is not a regular expression: {error}") from error

    def window(self, replay: Replay) -> tuple[int, int]:
        """Return the selected time as CLOCK_MONOTONIC nanoseconds, within the recording."""
        recording = replay.recording
        begin = recording.began_ns + (self.begin_ns or 0)
        end = recording.ended_ns if self.end_ns is None else recording.began_ns + self.end_ns
        return max(begin, recording.began_ns), min(end, recording.ended_ns)

    def threads(self, rows: NDArray[np.void], replay: Replay) -> NDArray[np.bool_]:
        """Tell which rows (with `thread` and `name`) belong to the selected threads; never to the recorder itself."""
        threads = replay.timeline.threads
        kept = threads["tgid"] != replay.recording.recorder_pid
        if self.pid is not None:
            kept &= threads["tgid"] == self.pid
        if self.tid is not None:
            kept &= threads["tid"] == self.tid
        chosen = kept[rows["thread"]]
        if self.comm is not None:
            fits = [fnmatchcase(text, self.comm) for text in replay.names.texts]
            chosen &= np.array([*fits, fnmatchcase("", self.comm)])[rows["name"]]
        return np.asarray(chosen)

    def clip(self, rows: NDArray[np.void], replay: Replay) -> NDArray[np.void]:
        """Return the rows of the selected threads that lie in the selected time, cut to it; `rows` stays as it is."""
        begin, end = self.window(replay)
        chosen = self.threads(rows, replay)
        if self.begin_ns is None and self.end_ns is None:
            return rows if bool(chosen.all()) else rows[chosen]
        kept = rows[chosen & (rows["end_ns"] > begin) & (rows["begin_ns"] < end)]
        for column in ("begin_ns", "wake_ns", "end_ns"):
            if column in (kept.dtype.names or ()):
                kept[column] = np.clip(kept[column], begin, end)
        return kept

    def hides(self, intervals: NDArray[np.void]) -> NDArray[np.bool_]:
        """Tell which intervals pictures leave out: those of threads that slept through the whole recording."""
        if self.show_all:
            return np.zeros(len(intervals), np.bool_)
        slept = (intervals["kind"] == BLOCKED) & (intervals["open"] == THROUGHOUT)
        return np.asarray(slept & (intervals["waker"] < 0) & (intervals["waker_cpu"] < 0))

    def fits(self, tid: int | None, pid: int | None, comm: str | None) -> bool:
        """Tell whether an event of this thread is selected; one whose thread is not known fits only no restriction."""
        return (
            (self.tid is None or tid == self.tid)
            and (self.pid is None or pid == self.pid)
            and (self.comm is None or (comm is not None and fnmatchcase(comm, self.comm)))
        )

    def shows(self, frames: tuple[str, ...]) -> bool:
        """Tell whether a stack is shown."""
        return self.frame_pattern is None or any(map(self.frame_pattern.search, frames))
