"""The one selection object: which threads, which time, which waits. Every view, table, command and page uses it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.cgroups import Cgroups
from offwake.analyzer.idle import IdleRules
from offwake.analyzer.intervals import BLOCKED, UNKNOWN
from offwake.analyzer.replay import Replay
from offwake.analyzer.states import LETTERS, letters_of
from offwake.errors import UsageError

__all__ = ["Selection"]


@dataclass(frozen=True)
class Selection:
    """What to look at. None means no restriction.

    `states` holds letters of waits as /proc shows them, R for threads that would run. `min_ns` and `max_ns` bound, both
    included, how long a wait was in what a view, table or heat map weighs it by. `begin_ns` and `end_ns` are nanoseconds
    since the recording's start; intervals are clipped to them, but with `ended` the waits that ended between them count,
    whole: what a region of a heat map holds. `grep` is a regular expression for some frame of a stack, or a row's text.
    `show_all` brings back the waits that `idle_rules` call idle.
    """

    pid: int | None = None
    tid: int | None = None
    comm: str | None = None
    cgroup: str | None = None
    states: str | None = None
    min_ns: int | None = None
    max_ns: int | None = None
    begin_ns: int | None = None
    end_ns: int | None = None
    ended: bool = False
    grep: str | None = None
    show_all: bool = False
    idle_rules: IdleRules = field(default_factory=IdleRules.default)

    def __post_init__(self) -> None:
        wrong = set(self.states or "") - set(LETTERS)
        if wrong:
            raise UsageError(f"--state {','.join(sorted(wrong))}: no such state; there are {','.join(LETTERS)}")

    def window(self, replay: Replay) -> tuple[int, int]:
        """Return the selected time as CLOCK_MONOTONIC nanoseconds, within the recording."""
        recording = replay.recording
        begin = recording.began_ns + (self.begin_ns or 0)
        end = recording.ended_ns if self.end_ns is None else recording.began_ns + self.end_ns
        return max(begin, recording.began_ns), min(end, recording.ended_ns)

    def within(self, moments_ns: NDArray[np.int64], replay: Replay) -> NDArray[np.bool_]:
        """Tell which moments (CLOCK_MONOTONIC) lie in the selected time; the recording's last one does, if its end does."""
        begin, end = self.window(replay)
        return (moments_ns >= begin) & ((moments_ns < end) | (end == replay.recording.ended_ns))

    def chosen(self, rows: NDArray[np.void], replay: Replay) -> NDArray[np.bool_]:
        """Tell which rows (intervals or slices) are of the selected threads, and states; never the recorder's own."""
        threads = replay.timeline.threads
        kept = threads["tgid"] != replay.recording.recorder_pid
        if self.pid is not None:
            kept &= threads["tgid"] == self.pid
        if self.tid is not None:
            kept &= threads["tid"] == self.tid
        if self.cgroup is not None:
            tgids, which = np.unique(threads["tgid"], return_inverse=True)
            kept &= np.array([self._in_cgroup(replay.cgroups.path(tgid)) for tgid in tgids.tolist()])[which]
        chosen = kept[rows["thread"]]
        if self.comm is not None:
            fits = [fnmatchcase(text, self.comm) for text in replay.names.texts]
            chosen &= np.array([*fits, fnmatchcase("", self.comm)])[rows["name"]]
        if self.states is not None:
            chosen &= self._in_state(rows)
        return np.asarray(chosen)

    def lasting(self, value_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which durations lie between `min_ns` and `max_ns`."""
        chosen = np.ones(len(value_ns), np.bool_)
        if self.min_ns is not None:
            chosen &= value_ns >= self.min_ns
        if self.max_ns is not None:
            chosen &= value_ns <= self.max_ns
        return chosen

    def lasts(self, value_ns: int) -> bool:
        """Tell whether one duration lies between them."""
        return (self.min_ns is None or value_ns >= self.min_ns) and (self.max_ns is None or value_ns <= self.max_ns)

    def cut(self, rows: NDArray[np.void], replay: Replay) -> NDArray[np.void]:
        """Return the rows that lie in the selected time, cut to it (waits: see `ended`); `rows` stays as it is."""
        if self.begin_ns is None and self.end_ns is None:
            return rows
        if self.ended and "wake_ns" in (rows.dtype.names or ()):
            return rows.compress(self.within(rows["end_ns"], replay))
        begin, end = self.window(replay)
        kept = rows.compress((rows["end_ns"] > begin) & (rows["begin_ns"] < end))
        for column in ("begin_ns", "wake_ns", "end_ns"):
            if column in (kept.dtype.names or ()):
                kept[column] = np.clip(kept[column], begin, end)
        return kept

    def clip(self, rows: NDArray[np.void], replay: Replay) -> NDArray[np.void]:
        """Return the rows of the selected threads, states and durations off or on the CPU, cut to the selected time."""
        chosen = self.chosen(rows, replay) & self.lasting(rows["end_ns"] - rows["begin_ns"])
        return self.cut(rows if bool(chosen.all()) else rows[chosen], replay)

    def _in_cgroup(self, path: str) -> bool:
        return fnmatchcase(path, str(self.cgroup)) or fnmatchcase(Cgroups.label(path), str(self.cgroup))

    def _in_state(self, rows: NDArray[np.void]) -> NDArray[np.bool_]:
        """Running, preempted and new threads are in state R; of unknown time no state is known."""
        if "kind" not in (rows.dtype.names or ()):
            return np.full(len(rows), "R" in str(self.states))
        letters = np.where(rows["kind"] == BLOCKED, letters_of(rows["state"]), "R")
        fits: NDArray[np.bool_] = np.isin(letters, list(str(self.states)))
        return np.asarray(fits & (rows["kind"] != UNKNOWN))

    def waits(
        self,
        intervals: NDArray[np.void],
        replay: Replay,
        counts: Callable[[NDArray[np.void]], NDArray[np.bool_]],
        value_ns: Callable[[NDArray[np.void]], NDArray[np.int64]],
    ) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Return the selected intervals that count, cut to the selected time: those that are shown, and the hidden ones.

        `value_ns` is what they are weighed by, and measured by before they are cut.
        """
        rows = intervals.compress(counts(intervals) & self.chosen(intervals, replay))  # ten times as fast as [mask]
        if self.min_ns is not None or self.max_ns is not None:
            rows = rows.compress(self.lasting(value_ns(rows)))
        rows = self.cut(rows, replay)
        if self.show_all:
            return rows, rows[:0]
        hidden = self.hides(rows, replay)
        return rows.compress(~hidden), rows.compress(hidden)

    def unknown_ns(self, intervals: NDArray[np.void], replay: Replay) -> int:
        """Return the time of selected threads of which nothing is known (ns), whatever states and durations are wanted."""
        unknown = intervals[intervals["kind"] == UNKNOWN]
        if not len(unknown):
            return 0
        whole = replace(self, states=None, ended=False)
        rows = whole.cut(unknown[whole.chosen(unknown, replay)], replay)
        return int((rows["end_ns"] - rows["begin_ns"]).sum())

    def hides(self, intervals: NDArray[np.void], replay: Replay) -> NDArray[np.bool_]:
        """Tell which intervals pictures leave out: idle waits, and those of threads that slept throughout."""
        if self.show_all:
            return np.zeros(len(intervals), np.bool_)
        return replay.recording.idle(self.idle_rules).idle(intervals)

    def fits(self, tid: int | None, pid: int | None, comm: str | None, cgroup: str) -> bool:
        """Tell whether an event of this thread is selected; one whose thread is not known fits only no restriction."""
        return (
            (self.tid is None or tid == self.tid)
            and (self.pid is None or pid == self.pid)
            and (self.comm is None or (comm is not None and fnmatchcase(comm, self.comm)))
            and (self.cgroup is None or self._in_cgroup(cgroup))
        )
