"""The one way to ask a recording: by the name of a view, a heat map or a table, and a selection.

Commands and pages call these and nothing below them.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from functools import partial

from offwake.analyzer.chain import Chain
from offwake.analyzer.drops import Drops
from offwake.analyzer.event_stacks import EventStacks
from offwake.analyzer.heatmap import SECOND, Heatmap, latency_map, offset_map
from offwake.analyzer.histogram import PLAIN, Buckets, Histograms, histograms
from offwake.analyzer.latencies import KINDS, latencies
from offwake.analyzer.net_stack import WAYS
from offwake.analyzer.nothing import nothing_fits
from offwake.analyzer.on_cpu import OnCpu
from offwake.analyzer.overview import Overview
from offwake.analyzer.overview import overview as make_overview
from offwake.analyzer.parts import RUN_QUEUE, OffCpu, Wall
from offwake.analyzer.profile import Profile
from offwake.analyzer.recording import Recording
from offwake.analyzer.scope import Scope
from offwake.analyzer.search import matching_names
from offwake.analyzer.select import Selection
from offwake.analyzer.shape import shaped
from offwake.analyzer.tables import (
    Table,
    block_io,
    dns,
    events,
    function_counts,
    net_stack,
    syscalls,
    tcp_counters,
    tcp_drops,
    tcp_retransmits,
    tcp_sessions,
    tcp_states,
    tcp_stats,
    tcp_top,
    tcp_windows,
    threads,
    waits_for,
)
from offwake.analyzer.tables import overview as overview_table
from offwake.analyzer.traced import OF_ALL, traced_fields
from offwake.analyzer.verdicts import Verdicts
from offwake.analyzer.views import DEFAULTS, OFF_WAKE, WAKEUP, Collector, IntervalStacks, ViewOptions
from offwake.errors import UsageError

__all__ = [
    "COMPARABLE",
    "HEATMAPS",
    "HISTOGRAMS",
    "OF_FIELDS",
    "OPTIONS",
    "TABLES",
    "VIEWS",
    "Cut",
    "ViewOptions",
    "blocked",
    "heatmap",
    "labels",
    "histogram",
    "lacks",
    "must_understand",
    "of_fields",
    "offsets",
    "overview",
    "over_time",
    "profile",
    "shaped",
    "table",
    "why_nothing",
]

_VIEWS: dict[str, tuple[str, Callable[[Scope, ViewOptions], Collector]]] = {
    "off-cpu": (
        "where threads left the CPU, weighted by all the time until they ran again",
        OffCpu,
    ),
    "off-wake": (
        "where threads blocked, and who woke them from where, weighted by blocked time",
        partial(IntervalStacks, OFF_WAKE),
    ),
    "wakeup": (
        "who woke others, and from where, weighted by how long they had been blocked",
        partial(IntervalStacks, WAKEUP),
    ),
    "chain": ("what each wait waited for, and what that waited for, to the end; weighted by blocked time", Chain),
    "run-queue": (
        "who ran while threads waited for a CPU, weighted by the time in the run queue and preempted",
        partial(IntervalStacks, RUN_QUEUE),
    ),
    "on-cpu": ("what threads did while they ran, weighted by running time", OnCpu),
    "events": ("where traced tracepoints were passed, weighted by how often", EventStacks),
    "tcp-drop": ("why the kernel dropped TCP packets, and where; weighted by packets", Drops),
    "wall": ("what threads did all the time, on the CPU and off it, weighted by it", Wall),
}
_TABLES: dict[str, tuple[str, Callable[[Scope], Table]]] = {
    "threads": ("every thread's time: on-CPU, blocked, run queue, preempted, unknown", threads.table),
    "block-io": ("every block I/O request, with queue and service time", block_io.table),
    "events": ("every event of traced tracepoints; events:FIELD counts them by a field", events.table),
    "function-counts": ("how often functions were called, how long calls took", function_counts.table),
    "syscalls": ("system calls by process and call: how often, how long, how many failed", syscalls.table),
    "waits-for": ("who waited for whom, how long, and which threads wait in a circle", waits_for.table),
    "dns": ("every name look-up through the C library, with host and latency", dns.table),
    "tcp-sessions": ("every TCP session, with its process, bytes and duration", tcp_sessions.table),
    "tcp-states": ("every change of a TCP socket's state, and how long the old one lasted", tcp_states.table),
    "tcp-retransmits": ("every TCP segment that was sent again", tcp_retransmits.table),
    "tcp-top": ("bytes by process and TCP connection, second by second", tcp_top.table),
    "tcp-windows": ("round-trip time, windows and buffers of TCP connections over time", tcp_windows.table),
    "tcp-drops": ("every TCP packet that the kernel dropped, and why", tcp_drops.table),
    "tcp-stats": ("what went wrong with each TCP session: retransmits, resets, drops, errors", tcp_stats.table),
    "tcp-counters": ("what the kernel counted of IP, TCP and UDP, second by second", tcp_counters.table),
    "net-stack": ("how long each connection's packets took between the kernel's layers", net_stack.table),
    "overview": ("what the machine did at each moment: a row a part of the viewer's timeline", overview_table.table),
}

VIEWS = {name: summary for name, (summary, _) in _VIEWS.items()}
HEATMAPS = HISTOGRAMS = {name: kind.summary for name, kind in KINDS.items()}
TABLES = {name: summary for name, (summary, _) in _TABLES.items()}
COMPARABLE = {name: summary for name, summary in VIEWS.items() if name not in ("events", "tcp-drop")}
"""Views that weigh time: what those others count is not known by slices of time, see compare.py."""

_ANY, _OF_THREADS = ("hide", "sandwich"), ("by", "hide", "sandwich")
OPTIONS: dict[str, tuple[str, ...]] = {view: _OF_THREADS for view in VIEWS} | {"tcp-drop": _ANY}
OPTIONS |= {"off-cpu": (*_OF_THREADS, "split"), "chain": (*_OF_THREADS, "chain")}
"""What each view can be asked for, by the names of ViewOptions."""


@dataclass(frozen=True)
class Cut:
    """Into how many slices a selected time is cut, and which verdicts say what is idle (None: the recording's own)."""

    slices: int
    verdicts: Verdicts | None = None


_SOURCES = {
    "on-cpu": "on-cpu",
    "block-io": "block",
    "block-io-queue": "block",
    **{name: name for name in ("dns", "syscalls")},
    **dict.fromkeys(("events", "pairs"), "trace"),
    "functions": "time",
    "function-counts": "count",
    **dict.fromkeys(("tcp-sessions", "tcp-states", "tcp-retransmits", "connect"), "tcp"),
    **dict.fromkeys(("tcp-rtt", "tcp-windows"), "tcp-rtt"),
    "tcp-top": "tcp-bytes",
    **dict.fromkeys(("tcp-drop", "tcp-drops"), "tcp-drop"),
    **dict.fromkeys(("tcp-stats", "tcp-counters"), "tcp-stats"),
    **dict.fromkeys(("net-stack", *WAYS), "net-stack"),
}
"""What rests on another source than the scheduler's events."""

OF_FIELDS = ("events:",)
"""Names that go on with a field of what was recorded."""

_OF_WAKERS = ("off-wake", "wakeup", "chain", "waits-for")
"""What rests on the stacks of wakers."""


def profile(recording: Recording, view: str, selection: Selection, options: ViewOptions = DEFAULTS) -> Profile:
    """Return a view's stacks. Raises UsageError for a view or an option that it does not have."""
    _must_understand_all(recording, view, options)
    return _profile(Scope(recording, selection), view, options)


def over_time(recording: Recording, view: str, selection: Selection, options: ViewOptions, cut: Cut) -> Profile:
    """Return a view's stacks, and what they weighed in each slice of the selected time. Raises UsageError as `profile`."""
    _must_understand_all(recording, view, options)
    return _profile(Scope(recording, selection).sliced(cut.slices, cut.verdicts), view, options)


def blocked(recording: Recording, selection: Selection) -> Profile:
    """Return the stacks of `off-wake`, also of a recording without wakers: they then say only where threads blocked."""
    return _profile(Scope(recording, selection), "off-wake", DEFAULTS)


def _profile(scope: Scope, view: str, options: ViewOptions) -> Profile:
    def everything() -> Profile:
        whole = Scope(scope.recording, replace(scope.selection, show_all=True), scope.strangers)
        return _collected(whole, view, options)

    return shaped(_collected(scope, view, options), everything, scope.selection.grep, options)


def _collected(scope: Scope, view: str, options: ViewOptions) -> Profile:
    """Return all stacks of the selected waits."""
    unknown_ns = 0
    collector = _VIEWS[view][1](scope, options)
    for batch in scope.replay:
        collector.feed(batch)
        unknown_ns += scope.unknown_ns(batch.activity.intervals)
    found = collector.profile(scope.replay.naming)
    found.view, found.unknown_ns = view, unknown_ns if found.unit == "ns" else 0
    return found


def heatmap(recording: Recording, of: str, selection: Selection) -> Heatmap:
    """Return a heat map of latencies over time. Raises UsageError for one that does not exist."""
    _must_exist("heat map", of, HEATMAPS, OF_FIELDS)
    return latency_map(latencies(Scope(recording, selection), of))


def labels(of: str) -> tuple[str, ...]:
    """Name the fields that the latencies of a kind can be told apart by; of traced events, those that all of them have."""
    return (KINDS[of].fields if of in KINDS else ()) or OF_ALL


def of_fields(recording: Recording) -> dict[str, bool]:
    """Name what traced events can be asked for by their fields, as `events:FIELD`: a table of each; where it is a number
    (True), heat maps and histograms too."""
    return {f"events:{name}": is_number for name, is_number in traced_fields(recording.keyframe).items()}


def offsets(recording: Recording, of: str, selection: Selection, period_ns: int = SECOND) -> Heatmap:
    """Return a heat map of when in each period of time something ended. Raises UsageError for one that cannot be."""
    _must_exist("heat map", of, HEATMAPS, OF_FIELDS)
    return offset_map(latencies(Scope(recording, selection), of), period_ns)


def histogram(recording: Recording, of: str, selection: Selection, options: Buckets = PLAIN) -> Histograms:
    """Return histograms of latencies. Raises UsageError for a kind or a field that does not exist."""
    _must_exist("histogram", of, HISTOGRAMS, OF_FIELDS)
    return histograms(latencies(Scope(recording, selection), of, options.by), options)


def overview(recording: Recording) -> Overview:
    """Return what the machine did at each moment of the whole recording."""
    return make_overview(Scope(recording, Selection()))


def table(recording: Recording, of: str, selection: Selection) -> Table:
    """Return a table's rows; it leaves out no idle waits. Raises UsageError for a table that does not exist."""
    _must_exist("table", of, TABLES, OF_FIELDS)
    _must_have_wakers(recording, of)
    name, _, fields = of.partition(":")
    make = partial(events.counts, by=tuple(fields.split("+"))) if fields else _TABLES[name][1]
    found = make(Scope(recording, replace(selection, show_all=True), selection.show_all))
    return found if selection.grep is None else _rows_matching(found, selection.grep)


def _rows_matching(whole: Table, pattern: str) -> Table:
    """Return the rows with a text that the regular expression fits."""
    texts = [
        [row[column.name] for column in whole.columns if isinstance(row.get(column.name), str)] for row in whole.rows
    ]
    names = matching_names(pattern, {text for row in texts for text in row})
    return replace(whole, rows=[row for row, own in zip(whole.rows, texts, strict=True) if not names.isdisjoint(own)])


def _must_understand_all(recording: Recording, view: str, options: ViewOptions) -> None:
    _must_exist("view", view, VIEWS)
    _must_have_wakers(recording, view)
    for option in fields(ViewOptions):
        if getattr(options, option.name) != getattr(DEFAULTS, option.name):
            must_understand(view, option.name)


def must_understand(view: str, option: str) -> None:
    """Raise UsageError for an option (a name of ViewOptions) that says nothing to a view."""
    _must_exist("view", view, VIEWS)
    if option not in OPTIONS[view]:
        known = " or ".join(other for other in VIEWS if option in OPTIONS[other])
        raise UsageError(f"--{option} says nothing to --view {view}: leave it out, or choose --view {known}")


def lacks(recording: Recording, name: str) -> str:
    """Say why a recording has nothing for a view, heat map or table; "" where it has something."""
    needed = _SOURCES.get(name.partition(":")[0], "sched")
    events: Counter[str] = Counter()
    for source in recording.info()["sources"]:
        what = source["name"].partition(":")[0]
        events[what] += source["events"]
        if what == "time":  # which counts, too
            events["count"] += source["events"]
    if needed not in events:
        return f"not recorded (source {needed})"
    if name in _OF_WAKERS and not recording.narrowed.wakers:
        return "not recorded (--no-wakers)"
    return "" if events[needed] else f"no events (source {needed})"


def why_nothing(recording: Recording, name: str, selection: Selection, options: ViewOptions = DEFAULTS) -> str:
    """Say why nothing was found of a view, heat map or table: the recording lacks it, or the selection fits nothing."""
    if lacking := lacks(recording, name):
        return lacking
    if options.sandwich is not None:
        return f"no selected stack has a frame called {options.sandwich!r}; `offwake frames` lists those that there are"
    return nothing_fits(recording, selection)


def _must_have_wakers(recording: Recording, name: str) -> None:
    if name in _OF_WAKERS and not recording.narrowed.wakers:
        raise UsageError(f"{name}: this recording has no wakers (record --no-wakers); try off-cpu")


def _must_exist(what: str, name: str, known: Iterable[str], of_fields: tuple[str, ...] = ()) -> None:
    if name not in known and (name in of_fields or not name.startswith(of_fields)):
        raise UsageError(f"unknown {what} {name!r}; there are {', '.join(sorted(known))}")
