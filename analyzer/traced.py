"""Events of tracepoints that the kernel wrote itself: by their fields, and in pairs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.decode import kind_layouts
from offwake.analyzer.gathered import Events, gathered, is_selected
from offwake.analyzer.replay import Replay
from offwake.analyzer.roots import BY
from offwake.analyzer.scope import Scope
from offwake.errors import UsageError

__all__ = [
    "OF_ALL",
    "TID",
    "Pairs",
    "codes_of",
    "fields_of",
    "must_be_fields",
    "paired",
    "traced_events",
    "traced_fields",
    "traced_kinds",
]

TID = "common_pid"
OF_ALL = ("event", "cpu", *BY)
"""What every event can be told apart by, whatever its fields."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of two kinds of event: the first and the second one of each, in the order of the second ones' time."""

    name: str
    first: Events
    second: Events

    @property
    def latency_ns(self) -> NDArray[np.int64]:
        """The time from the first to the second (int64, N)."""
        return self.second.rows.time_ns - self.first.rows.time_ns


def traced_kinds(replay: Replay) -> list[str]:
    """Name the tracepoints that were recorded."""
    return [layout.name for layout in replay.decoder.layouts.values() if layout.traced]


def traced_fields(keyframe: dict[str, Any]) -> dict[str, bool]:
    """Return the fields of the tracepoints that were recorded, and whether each is a number wherever it occurs."""
    found: dict[str, bool] = {}
    for layout in kind_layouts(keyframe).values():
        for name in layout.dtype.names or () if layout.traced else ():
            is_number = layout.dtype[name].kind in "iu" and name not in layout.strings
            found[name] = is_number and found.get(name, True)
    found.pop(TID, None)
    return found


def traced_events(scope: Scope) -> dict[str, Events]:
    """Return the events of each traced tracepoint, of selected threads in the selected time."""
    return {name: gathered(scope, name, TID) for name in traced_kinds(scope.replay)}


def fields_of(found: Events) -> list[str]:
    """Name an event's own fields."""
    return [name for name in found.rows.payload.dtype.names or () if name != TID]


def paired(scope: Scope) -> Iterator[Pairs]:
    """Match the pairs that were asked for when it was recorded: each second event with the last first one of the same
    fields before it. Those are kept whose second lies in the selected time, and whose first was a selected thread's."""
    everything = scope.but(pid=None, tid=None, comm=None, cgroup=None, begin_ns=None, end_ns=None)
    for pair in scope.recording.keyframe["pairs"]:
        first, second = (gathered(everything, pair[end], TID) for end in ("first", "second"))
        if not len(first) or not len(second):
            continue
        which, by = _matched(first, second, pair["by"])
        first, second = _at(first, which), _at(second, by)
        chosen = np.array([is_selected(place, scope) for place in first.thread.tolist()], np.bool_)
        chosen &= scope.within(second.rows.time_ns)
        found = Pairs(f"{pair['first']}..{pair['second']}", first.where(chosen), second.where(chosen))
        kept = scope.selection.lasting(found.latency_ns)
        yield Pairs(found.name, found.first.where(kept), found.second.where(kept))


def _matched(first: Events, second: Events, by: list[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of the first and of the second event of each pair."""
    is_second = np.repeat([False, True], [len(first), len(second)])
    times = np.concatenate((first.rows.time_ns, second.rows.time_ns))
    keys = [np.unique(np.concatenate((_key(first, n), _key(second, n))), return_inverse=True)[1] for n in by]
    order = np.lexsort((is_second, times, *keys))
    same = np.ones(len(order) - 1, np.bool_)
    for key in keys:
        same &= key[order][1:] == key[order][:-1]
    ends = np.flatnonzero(same & is_second[order][1:] & ~is_second[order][:-1]) + 1
    places, seconds = order[ends - 1], order[ends] - len(first)
    in_time = np.argsort(seconds, kind="stable")
    return places[in_time], seconds[in_time]


def _key(found: Events, name: str) -> NDArray[Any]:
    if name == "cpu":
        return found.rows.cpu
    values = found.rows.payload[TID if name == "tid" else name]
    return values if values.dtype.kind in "SV" else values.astype(np.int64)


def _at(found: Events, which: NDArray[np.intp]) -> Events:
    return Events(found.rows.where(which), found.thread[which])


def codes_of(name: str, event: str, found: Events, replay: Replay) -> NDArray[np.int32]:
    """Return what a field of events, or what every event has, is called, as ids of `replay.names`; "" where there is none.

    `event` is what the events are called.
    """
    if name == "event":
        return np.full(len(found), replay.names.id(event), np.int32)
    if name in BY:
        return found.named_by(name, replay)
    values = found.rows.cpu if name == "cpu" else found.rows.payload[name] if name in fields_of(found) else None
    if values is None:
        return np.full(len(found), replay.names.id(""), np.int32)
    distinct, which = np.unique(values, return_inverse=True)
    ids = [replay.names.id(_text(value)) for value in distinct.tolist()]
    return np.array(ids, np.int32)[which.reshape(-1)] if ids else np.empty(0, np.int32)


def must_be_fields(names: tuple[str, ...], known: list[Events]) -> None:
    """Raise UsageError for a field that none of the events has."""
    there = dict.fromkeys([*OF_ALL, *(field for found in known for field in fields_of(found))])
    for name in names:
        if name not in there:
            raise UsageError(f"events have no field {name!r}; there are {', '.join(there)}")


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
