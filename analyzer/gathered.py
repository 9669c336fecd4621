"""Events of one kind in one place, with the threads that they are about: what tables and latencies of events are made of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.decode import Rows
from offwake.analyzer.replay import Replay
from offwake.analyzer.roots import named_by
from offwake.analyzer.scope import Scope

__all__ = ["Events", "gathered", "is_selected"]

NOBODY = -1


@dataclass(frozen=True)
class Events:
    """Events of one kind in the order of time, and the place of each one's thread in the thread table (int32, N)."""

    rows: Rows
    thread: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, which: NDArray[np.bool_]) -> "Events":
        """Return some of them."""
        return Events(self.rows.where(which), self.thread[which])

    def names(self, replay: Replay) -> NDArray[np.int32]:
        """Return the last name of each one's thread (an id of `replay.names`, below 0 for none)."""
        names: NDArray[np.int32] = np.where(self.thread >= 0, replay.timeline.threads["name"][self.thread], NOBODY)
        return names.astype(np.int32)

    def tgids(self, replay: Replay) -> list[int | None]:
        """Return each one's process, None where its thread is not known."""
        tgids = replay.timeline.threads["tgid"][self.thread].tolist()
        return [tgid if place >= 0 else None for place, tgid in zip(self.thread.tolist(), tgids, strict=True)]

    def comms(self, replay: Replay) -> list[str | None]:
        """Return the last name of each one's thread as text, None where there is none."""
        return [replay.names.texts[name] if name >= 0 else None for name in self.names(replay).tolist()]

    def named_by(self, by: str, replay: Replay) -> NDArray[np.int32]:
        """Return what `--by` calls the threads, as ids of `replay.names`."""
        return named_by(by, self.thread, self.names(replay), replay)


def gathered(scope: Scope, kind: str, tid: str = "tid") -> Events:
    """Return a kind's events by selected threads in the selected time. `tid` is the field that says whose they are."""
    replay, parts = scope.replay, []
    for batch in replay:
        if len(batch.events.get(kind, ())):
            parts.append(batch.events[kind])
    if not parts:
        layout = next((one for one in replay.decoder.layouts.values() if one.name == kind), None)
        nothing = np.empty(0, layout.dtype if layout else [(tid, "<u4")])
        parts = [Rows(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int32), nothing)]
    rows = Rows.joined(parts)
    rows = rows.where(np.argsort(rows.time_ns, kind="stable"))
    thread = replay.timeline.places(rows.payload[tid], rows.time_ns)
    return Events(rows, thread).where(are_selected(thread, scope) & scope.within(rows.time_ns))


def are_selected(thread: NDArray[np.int32], scope: Scope) -> NDArray[np.bool_]:
    """Tell of each whether it is selected, see `is_selected`."""
    places, which = np.unique(thread, return_inverse=True)
    return np.array([is_selected(place, scope) for place in places.tolist()], np.bool_)[which]


def is_selected(place: int, scope: Scope) -> bool:
    """Tell whether what a thread did is selected, by its place in the thread table (below 0: none); never the recorder's."""
    replay, selection = scope.replay, scope.selection
    if place < 0:
        return selection.fits(None, None, None, "")
    thread = replay.timeline.threads[place]
    pid = int(thread["tgid"])
    comm = replay.names.texts[thread["name"]] if thread["name"] >= 0 else None
    is_theirs = pid not in replay.recording.own_pids
    return is_theirs and selection.fits(int(thread["tid"]), pid, comm, replay.cgroups.path(pid))
