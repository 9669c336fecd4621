"""The one way to ask a recording: by the name of a view, a heat map or a table, and a selection.

Commands and pages call these and nothing below them.
"""

from collections.abc import Callable, Iterable

from offwake.analyzer.heatmap import Heatmap
from offwake.analyzer.naming import Frames, Naming
from offwake.analyzer.on_cpu import OnCpu, frames_of
from offwake.analyzer.profile import Profile
from offwake.analyzer.recording import Recording
from offwake.analyzer.select import Selection
from offwake.analyzer.tables import Table, block_io, tcp_sessions, threads
from offwake.analyzer.views import INTERVAL_VIEWS, IntervalView
from offwake.analyzer.weights import Weights
from offwake.errors import UsageError

__all__ = ["HEATMAPS", "TABLES", "VIEWS", "heatmap", "profile", "table"]

_TABLES: dict[str, tuple[str, Callable[[Recording, Selection], Table]]] = {
    "threads": ("every thread's time: on-CPU, blocked, run queue, preempted, unknown", threads.table),
    "block-io": ("every block I/O request, with queue and service time", block_io.table),
    "tcp-sessions": ("every TCP session, with its process, bytes and duration", tcp_sessions.table),
}
_HEATMAPS: dict[str, tuple[str, Callable[[Recording, Selection], Heatmap]]] = {
    "block-io": ("service time of block I/O requests, when they completed", block_io.heatmap),
}

VIEWS = {name: view.summary for name, view in INTERVAL_VIEWS.items()} | {
    "on-cpu": "what threads did while they ran, weighted by running time"
}
HEATMAPS = {name: summary for name, (summary, _) in _HEATMAPS.items()}
TABLES = {name: summary for name, (summary, _) in _TABLES.items()}


def profile(recording: Recording, view: str, selection: Selection) -> Profile:
    """Return a view's stacks. Raises UsageError for a view that does not exist."""
    _must_exist("view", view, VIEWS)
    if view == "on-cpu":
        return _on_cpu(recording, selection)
    return _off_cpu(recording, INTERVAL_VIEWS[view], selection)


def heatmap(recording: Recording, of: str, selection: Selection) -> Heatmap:
    """Return a heat map. Raises UsageError for one that does not exist."""
    _must_exist("heat map", of, HEATMAPS)
    return _HEATMAPS[of][1](recording, selection)


def table(recording: Recording, of: str, selection: Selection) -> Table:
    """Return a table's rows. Raises UsageError for a table that does not exist."""
    _must_exist("table", of, TABLES)
    return _TABLES[of][1](recording, selection)


def _must_exist(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise UsageError(f"unknown {what} {name!r}; there are {', '.join(sorted(known))}")


def _off_cpu(recording: Recording, view: IntervalView, selection: Selection) -> Profile:
    replay, weights, hidden_ns = recording.replay(), Weights(), 0
    for batch in replay:
        rows = selection.clip(batch.activity.intervals, replay)
        rows = rows[view.counts(rows)]
        hidden = selection.hides(rows)
        hidden_ns += int(view.value_ns(rows[hidden]).sum())
        shown = rows[~hidden]
        weights.add(view.keys(shown), view.value_ns(shown))
    return _named(view.name, weights, view.frames, Naming(replay), selection, hidden_ns)


def _on_cpu(recording: Recording, selection: Selection) -> Profile:
    replay = recording.replay()
    collected = OnCpu(replay, selection)
    for batch in replay:
        collected.feed(batch)
    return _named("on-cpu", collected.weights, frames_of, Naming(replay), selection, 0)


def _named(
    view: str,
    weights: Weights,
    frames_of_key: Callable[[tuple[int, ...], Naming], Frames],
    naming: Naming,
    selection: Selection,
    hidden_ns: int,
) -> Profile:
    """Turn ids into frames: only now, once for each distinct stack."""
    found = Profile(view, hidden_ns=hidden_ns)
    for key, weight in weights.by_key.items():
        frames = frames_of_key(key, naming)
        if selection.shows(frames):
            found.add(frames, weight.value_ns, weight.count)
    return found
