"""A selection laid on a recording: which rows of a pass are selected, and what of their time.

Selection says what is wanted, in the words of whoever asks; here it meets threads, names and moments. What waits are idle is
found out when a scope is made, before the pass that it is for begins.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.intervals import BLOCKED, UNKNOWN
from offwake.analyzer.select import Selection
from offwake.analyzer.slices import Slices
from offwake.analyzer.states import letters_of

if TYPE_CHECKING:
    from offwake.analyzer.recording import Recording
    from offwake.analyzer.verdicts import Verdicts

__all__ = ["Scope"]


class Scope:
    """What is selected of a recording. `begin_ns` and `end_ns` (CLOCK_MONOTONIC) are the selected time, within it.

    Of a recording that was narrowed, `strangers` are those that it is not about; they are selected if all is to be shown, or
    if the caller says so.
    """

    def __init__(self, recording: "Recording", selection: Selection, strangers: bool | None = None) -> None:
        self.recording = recording
        self.strangers = selection.show_all if strangers is None else strangers
        shown = self.strangers and not recording.narrowed.members_only
        self._members = recording.members if recording.narrowed and not shown else None
        # First, so that the pass to come can go over what this one keeps.
        self._verdicts = None if selection.show_all else recording.idle(selection.idle_rules)
        self.replay = recording.replay()
        self._slices = 1
        self._lay(selection)

    def but(self, **changes: Any) -> "Scope":
        """Return a scope of the same pass, with other fields of its selection; what it hides it can show, not hide more."""
        other = copy(self)
        other._lay(replace(self.selection, **changes))
        return other

    def sliced(self, count: int, verdicts: "Verdicts | None") -> "Scope":
        """Return a scope of the same pass whose time has so many slices, and in which these verdicts say what is idle."""
        other = copy(self)
        other._slices = count
        other._verdicts = None if self._verdicts is None else verdicts or self._verdicts
        return other

    def _lay(self, selection: Selection) -> None:
        recording, self.selection = self.recording, selection
        begin_ns = recording.began_ns + (selection.begin_ns or 0)
        end_ns = recording.ended_ns if selection.end_ns is None else recording.began_ns + selection.end_ns
        self.begin_ns, self.end_ns = max(begin_ns, recording.began_ns), min(end_ns, recording.ended_ns)

    @property
    def slices(self) -> Slices:
        """The slices of the selected time."""
        return Slices(self.begin_ns, max(self.end_ns, self.begin_ns), self._slices, self.selection.ended)

    def within(self, moments_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which moments (CLOCK_MONOTONIC) lie in the selected time; the recording's last one does, if its end does."""
        last = self.end_ns == self.recording.ended_ns
        return (moments_ns >= self.begin_ns) & ((moments_ns < self.end_ns) | last)

    def chosen(self, rows: NDArray[np.void]) -> NDArray[np.bool_]:
        """Tell which rows (intervals or slices) are of the selected threads, and states; never the recorder's own."""
        selection, replay = self.selection, self.replay
        threads = replay.timeline.threads
        kept = ~np.isin(threads["tgid"], self.recording.own_pids)
        if self._members is not None:
            kept &= np.isin(threads["tid"], self._members)
        if selection.pid is not None:
            kept &= threads["tgid"] == selection.pid
        if selection.tid is not None:
            kept &= threads["tid"] == selection.tid
        if selection.cgroup is not None:
            tgids, which = np.unique(threads["tgid"], return_inverse=True)
            kept &= np.array([selection.fits_cgroup(replay.cgroups.path(tgid)) for tgid in tgids.tolist()])[which]
        chosen = kept[rows["thread"]]
        if selection.comm is not None:
            fits = [fnmatchcase(text, selection.comm) for text in replay.names.texts]
            chosen &= np.array([*fits, fnmatchcase("", selection.comm)])[rows["name"]]
        if selection.states is not None:
            chosen &= _in_states(rows, selection.states)
        return np.asarray(chosen)

    def cut(self, rows: NDArray[np.void]) -> NDArray[np.void]:
        """Return the rows that lie in the selected time, cut to it (waits: see `ended`); `rows` stays as it is."""
        if self.selection.begin_ns is None and self.selection.end_ns is None:
            return rows
        if self.selection.ended and "wake_ns" in (rows.dtype.names or ()):
            return rows.compress(self.within(rows["end_ns"]))
        kept = rows.compress((rows["end_ns"] > self.begin_ns) & (rows["begin_ns"] < self.end_ns))
        for column in ("begin_ns", "wake_ns", "end_ns"):
            if column in (kept.dtype.names or ()):
                kept[column] = np.clip(kept[column], self.begin_ns, self.end_ns)
        return kept

    def clip(self, rows: NDArray[np.void]) -> NDArray[np.void]:
        """Return the rows of the selected threads, states and durations off or on the CPU, cut to the selected time."""
        chosen = self.chosen(rows) & self.selection.lasting(rows["end_ns"] - rows["begin_ns"])
        return self.cut(rows if bool(chosen.all()) else rows[chosen])

    def waits(
        self,
        intervals: NDArray[np.void],
        counts: Callable[[NDArray[np.void]], NDArray[np.bool_]],
        value_ns: Callable[[NDArray[np.void]], NDArray[np.int64]],
    ) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Return the selected intervals that count, cut to the selected time: those that are shown, and the hidden ones.

        `value_ns` is what they are weighed by, and measured by before they are cut: of what began before the selected time,
        what weighs nothing in it is no part of it. Hidden are idle waits, and those of threads that slept throughout.
        """
        rows = intervals.compress(counts(intervals) & self.chosen(intervals))  # ten times as fast as [mask]
        if self.selection.min_ns is not None or self.selection.max_ns is not None:
            rows = rows.compress(self.selection.lasting(value_ns(rows)))
        rows = self.cut(rows)
        if self.selection.begin_ns is not None and not self.selection.ended:
            rows = rows.compress((rows["begin_ns"] > self.begin_ns) | (value_ns(rows) > 0))
        if self._verdicts is None or self.selection.show_all:
            return rows, rows[:0]
        hidden = self._verdicts.idle(rows)
        return rows.compress(~hidden), rows.compress(hidden)

    def unknown_ns(self, intervals: NDArray[np.void]) -> int:
        """Return the time of selected threads of which nothing is known (ns), whatever states and durations are wanted."""
        unknown = intervals[intervals["kind"] == UNKNOWN]
        if not len(unknown):
            return 0
        whole = self.but(states=None, ended=False)
        rows = whole.cut(unknown[whole.chosen(unknown)])
        return int((rows["end_ns"] - rows["begin_ns"]).sum())


def _in_states(rows: NDArray[np.void], states: str) -> NDArray[np.bool_]:
    """Running, preempted and new threads are in state R; of unknown time no state is known."""
    if "kind" not in (rows.dtype.names or ()):
        return np.full(len(rows), "R" in states)
    letters = np.where(rows["kind"] == BLOCKED, letters_of(rows["state"]), "R")
    fits: NDArray[np.bool_] = np.isin(letters, list(states))
    return np.asarray(fits & (rows["kind"] != UNKNOWN))
