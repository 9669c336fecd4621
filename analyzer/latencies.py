"""Latencies: when something ended, how long it had taken, and whose it was.

Heat maps, offset maps and histograms are functions of these and of nothing else, so they agree with each other, with the
views of the same waits and with the tables of the same requests.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.connections import FIELDS as CONNECTION_FIELDS
from offwake.analyzer.counted import Counted, counted
from offwake.analyzer.cpus import Cpus
from offwake.analyzer.gathered import Events
from offwake.analyzer.groups import Groups
from offwake.analyzer.intervals import BLOCKED
from offwake.analyzer.naming import Frames, Naming
from offwake.analyzer.net_stack import WAYS
from offwake.analyzer.on_cpu import Samples, fallen_into, sampled_frames
from offwake.analyzer.replay import Batch, Replay
from offwake.analyzer.roots import BY, named_by
from offwake.analyzer.scope import Scope
from offwake.analyzer.search import matching_names
from offwake.analyzer.states import letters_of
from offwake.analyzer.syscalls import syscall_name
from offwake.analyzer.tables import block_io, dns
from offwake.analyzer.tcp_latencies import Measured, connects, lifetimes, round_trips, way
from offwake.analyzer.traced import codes_of, fields_of, must_be_fields, paired, traced_events
from offwake.analyzer.views import OFF_CPU, OFF_WAKE, IntervalView, Key
from offwake.errors import UsageError

__all__ = ["KINDS", "LARGEST", "Ask", "Kind", "Label", "Latencies", "latencies"]

WAIT_FIELDS = (*BY, "cpu", "state")
REQUEST_FIELDS = ("device", "operation", *BY)
LOOKUP_FIELDS = ("host", *BY)
NOBODY = -1
LARGEST = (1 << 62) - 1
"""No latency, and no number, is shown as more."""
Fields = tuple[str, ...]
Column = NDArray[np.int32]


@dataclass(frozen=True)
class Label:
    """A word for each latency: `codes` (integers, N), and what a code is called."""

    codes: NDArray[np.signedinteger]
    name: Callable[[int], str]


@dataclass(frozen=True)
class Latencies:
    """N latencies that ended in a time, and how long those were together that pictures leave out.

    `ended_ns` (int64, N) and the time itself, from `begin_ns` to `end_ns`, count from the recording's start; `latency_ns`
    (int64, N; at most LARGEST) is never cut to that time. `open` of them began before the recording or did not end in it:
    they are longer than is known. With "" for `unit` they are no time, but any numbers.
    Where there is a `count` (int64, N) each stands for so many, which took at least so long and less than twice that.
    """

    of: str
    begin_ns: int
    end_ns: int
    ended_ns: NDArray[np.int64]
    latency_ns: NDArray[np.int64]
    labels: dict[str, Label] = field(default_factory=dict)
    hidden_ns: int = 0
    open: int = 0
    unit: str = "ns"
    count: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Ask:
    """What is asked of a recording: which latencies, with which labels."""

    scope: Scope
    by: Fields

    @property
    def replay(self) -> Replay:
        """The pass to be made."""
        return self.scope.replay


@dataclass(frozen=True)
class Kind:
    """A kind of latency: what it is, by which fields it can be told apart (none: that is found out), and how it is found."""

    summary: str
    fields: Fields
    find: Callable[[Ask, Latencies], Latencies]


def latencies(scope: Scope, of: str, by: Fields = ()) -> Latencies:
    """Return the selected latencies of a kind, with the labels `by`.

    A latency is selected by when it ended, and by its own length. Raises UsageError for a field that the kind has not.
    """
    name, _, field = of.partition(":")
    kind = replace(TRACED, find=partial(_numbers, field)) if name == "events" and field else KINDS[of]
    if unknown := [name for name in by if kind.fields and name not in kind.fields]:
        raise UsageError(f"--by {unknown[0]}: {of} has no such field; there are {', '.join(kind.fields)}")
    began_ns, nothing = scope.recording.began_ns, np.empty(0, np.int64)
    none = Latencies(of, scope.begin_ns - began_ns, scope.end_ns - began_ns, nothing, nothing)
    return kind.find(Ask(scope, by), none)


def _view(view: IntervalView, ask: Ask, none: Latencies) -> Latencies:
    return _waits(view, ask.replay, ask, none)


def _run_queue(ask: Ask, none: Latencies) -> Latencies:
    """Find the waits for a CPU that ran another thread meanwhile, in the run queue or preempted."""
    cpus = Cpus(ask.replay.timeline.cpus, ask.scope.recording.narrowed.members_only)

    def remembered() -> Iterator[Batch]:
        for batch in ask.replay:
            cpus.feed(batch.activity.slices)
            yield batch

    view = replace(OFF_CPU, counts=lambda rows: cpus.queued_ns(rows) > 0, value_ns=cpus.queued_ns)
    return _waits(view, remembered(), replace(ask, scope=ask.scope.but(show_all=True)), none)


def _waits(view: IntervalView, batches: Iterable[Batch], ask: Ask, none: Latencies) -> Latencies:
    """Find the waits that a view counts, at the moment at which the thread ran again."""
    scope, found, left_out = ask.scope.but(ended=True), _Found(ask, view.frames), _Found(ask, view.frames)
    for batch in batches:
        shown, hidden = scope.waits(batch.activity.intervals, view.counts, view.value_ns)
        for rows, into in ((shown, found), (hidden, left_out)):
            into.add(rows, (rows["end_ns"], view.value_ns(rows), rows["open"] > 0), partial(view.keys, rows))
    return replace(found.latencies(none), hidden_ns=int(left_out.latencies(none).latency_ns.sum()))


def _running(ask: Ask, none: Latencies) -> Latencies:
    """Find the samples of what ran; their latency is how long their thread ran at a stretch."""
    whole, samples = ask.scope.but(begin_ns=None, end_ns=None), Samples()
    found = _Found(ask, sampled_frames)
    for batch in ask.replay:
        ended, taken = samples.feed(batch)
        slices = whole.clip(ended)
        taken, owner = fallen_into(slices, taken)
        mine = ask.scope.within(taken["time_ns"])
        taken, slices = taken[mine], slices[owner[mine]]
        ran_ns, is_open = slices["end_ns"] - slices["begin_ns"], np.zeros(len(taken), np.bool_)
        keys = partial(list[Column], (slices["name"], taken["stack"], taken["space"]))
        found.add(slices, (taken["time_ns"], ran_ns, is_open), keys)
    return found.latencies(none)


class _Found:
    """Gathers what batches bring, with the labels that are asked for; where stacks are selected, with a number for each."""

    def __init__(self, ask: Ask, frames: Callable[[Key, Naming], Frames]) -> None:
        self._ask, self._frames = ask, frames
        self._parts: list[list[NDArray[Any]]] = []
        self._stacks: Groups | None = None

    def add(self, rows: NDArray[np.void], figures: tuple[NDArray[Any], ...], keys: Callable[[], list[Column]]) -> None:
        """Take rows (intervals or slices): when each ended, how long it took, whether it is open, and its stack's keys."""
        columns = [*figures, *(_wait_codes(name, rows, self._ask.replay) for name in self._ask.by)]
        if self._ask.scope.selection.grep is not None:
            key = keys()
            self._stacks = self._stacks or Groups(len(key))
            columns.append(self._stacks.ids(key))
        self._parts.append(columns)

    def latencies(self, none: Latencies) -> Latencies:
        """Return all of them, or those whose stacks have a frame that matches; the pass must be complete."""
        replay = self._ask.replay
        columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        if self._stacks is not None:
            kept = self._matching(self._stacks)[columns.pop()]
            columns = [column[kept] for column in columns]
        ended_ns, latency_ns, is_open, *codes = columns
        labels = {
            name: Label(column, _wait_name(name, replay)) for name, column in zip(self._ask.by, codes, strict=True)
        }
        ended_ns, open_count = ended_ns - replay.recording.began_ns, int(np.count_nonzero(is_open))
        return Latencies(none.of, none.begin_ns, none.end_ns, ended_ns, latency_ns, labels, open=open_count)

    def _matching(self, stacks: Groups) -> NDArray[np.bool_]:
        """Tell which stacks have a frame that matches."""
        naming = self._ask.replay.naming
        frames = [self._frames(tuple(key), naming) for key in stacks.keys.tolist()]
        matches = matching_names(str(self._ask.scope.selection.grep), {name for names in frames for name in names})
        return np.array([not matches.isdisjoint(names) for names in frames], np.bool_)


def _wait_codes(name: str, rows: NDArray[np.void], replay: Replay) -> NDArray[np.signedinteger]:
    if name == "cpu":
        return np.asarray(rows["cpu"])
    if name == "state":
        letters = np.where(rows["kind"] == BLOCKED, letters_of(rows["state"]), "R")
        return letters.view(np.int32)
    return named_by(name, rows["thread"], rows["name"], replay)


def _wait_name(name: str, replay: Replay) -> Callable[[int], str]:
    if name == "cpu":
        return lambda cpu: str(cpu) if cpu >= 0 else "[open]"
    return chr if name == "state" else replay.naming.name


def _requests(column: str, ask: Ask, none: Latencies) -> Latencies:
    """Find block I/O requests: the service time when they completed, or the time in a queue when they left it."""
    replay, scope = ask.replay, ask.scope
    rows = block_io.requests(scope.but(begin_ns=None, end_ns=None, min_ns=None, max_ns=None))
    rows = rows.where(getattr(rows, column) != block_io.NONE)
    ended_ns = rows.completed_ns - (rows.service_ns if column == "queued_ns" else 0)
    chosen = scope.within(ended_ns) & scope.selection.lasting(getattr(rows, column))
    rows, ended_ns = rows.where(chosen), ended_ns[chosen] - replay.recording.began_ns
    labels = {name: _request_label(name, rows, replay) for name in ask.by}
    return replace(none, ended_ns=ended_ns, latency_ns=getattr(rows, column), labels=labels)


def _request_label(name: str, rows: block_io.Requests, replay: Replay) -> Label:
    if name == "device":
        devices, codes = np.unique(rows.device, return_inverse=True)
        return Label(codes, lambda code: block_io.device_name(int(devices[code]), replay))
    if name == "operation":
        return Label(rows.operation, lambda code: block_io.OPERATIONS.get(code, "other"))
    named = np.where(rows.thread >= 0, replay.timeline.threads["name"][rows.thread], block_io.NONE)
    return Label(named_by(name, rows.thread.astype(np.int32), named, replay), replay.naming.name)


def _of_connections(find: Callable[[Scope], Measured], ask: Ask, none: Latencies) -> Latencies:
    """Find what was measured of TCP connections, by when it ended."""
    scope, found = ask.scope, find(ask.scope)
    chosen = scope.within(found.ended_ns) & scope.selection.lasting(found.latency_ns)
    which, labels = found.which[chosen], {}
    for name in ask.by:
        words = [connection.words(name) for connection in found.connections]
        texts, codes = np.unique(np.array(words, str), return_inverse=True)
        labels[name] = Label(codes[which], texts.tolist().__getitem__)
    ended_ns = found.ended_ns[chosen] - scope.recording.began_ns
    return replace(none, ended_ns=ended_ns, latency_ns=found.latency_ns[chosen], labels=labels)


def _lookups(ask: Ask, none: Latencies) -> Latencies:
    """Find name look-ups, when they were answered or given up."""
    found = dns.lookups(ask.scope)
    if not len(found.rows):
        return none
    labels = {name: _event_label(name, found, ask.replay) for name in ask.by}
    ended_ns, latency_ns = found.rows.time_ns - ask.scope.recording.began_ns, found.rows.payload["latency_ns"]
    return replace(none, ended_ns=ended_ns, latency_ns=latency_ns.astype(np.int64), labels=labels)


def _pairs(ask: Ask, none: Latencies) -> Latencies:
    """Find pairs of traced events, when the second one came; labels are of the first one's fields, else of the second's."""
    found = [pairs for pairs in paired(ask.scope) if len(pairs.first)]
    must_be_fields(ask.by, [end for pairs in found for end in (pairs.first, pairs.second)])
    columns: list[list[NDArray[Any]]] = []
    for pairs in found:
        own = [pairs.first if name in fields_of(pairs.first) else pairs.second for name in ask.by]
        own = [pairs.first if name in BY else end for name, end in zip(ask.by, own, strict=True)]
        codes = [codes_of(name, pairs.name, end, ask.replay) for name, end in zip(ask.by, own, strict=True)]
        columns.append([pairs.second.rows.time_ns, pairs.latency_ns, *codes])
    return _joined(columns, ask, none)


def _numbers(field: str, ask: Ask, none: Latencies) -> Latencies:
    """Find the values of a numeric field of traced events, when they happened; what is below 0 counts as 0."""
    events = traced_events(ask.scope)
    must_be_fields((field, *ask.by), [*events.values()])
    having = {name: found for name, found in events.items() if field in fields_of(found)}
    if not having or any(found.rows.payload.dtype[field].kind not in "iu" for found in having.values()):
        raise UsageError(f"events:{field}: it is no number of its own; `table --of events:{field}` counts what it is")
    columns: list[list[NDArray[Any]]] = []
    for name, found in having.items():
        numbers = np.clip(found.rows.payload[field], 0, LARGEST).astype(np.int64)
        codes = [codes_of(by, name, found, ask.replay) for by in ask.by]
        columns.append([column[ask.scope.selection.lasting(numbers)] for column in (found.rows.time_ns, numbers, *codes)])
    return replace(_joined(columns, ask, none), unit="")


def _joined(columns: list[list[NDArray[Any]]], ask: Ask, none: Latencies) -> Latencies:
    if not columns:
        return none
    ended_ns, values, *codes = (np.concatenate(column) for column in zip(*columns, strict=True))
    labels = {name: Label(code, ask.replay.names.texts.__getitem__) for name, code in zip(ask.by, codes, strict=True)}
    return replace(none, ended_ns=ended_ns - ask.scope.recording.began_ns, latency_ns=values, labels=labels)


def _syscalls(ask: Ask, none: Latencies) -> Latencies:
    """Find how long system calls took, to a power of two, at the end of the second in which they returned."""
    return _of_powers([_Powers("call", counted(ask.scope, "syscalls"), syscall_name)], ask, none)


def _functions(ask: Ask, none: Latencies) -> Latencies:
    """Find how long calls of timed functions took, as `_syscalls` does."""
    found = []
    for one in ask.scope.recording.keyframe["counted"]:
        known = one.get("names", ())
        often = Counter(name for name, *_ in known)
        names = {number: f"{name} ({where})" if often[name] > 1 else name for number, (name, where, *_) in enumerate(known)}
        if {"total_ns", "power"} <= {name for name, *_ in one["fields"]} and names:
            found.append(_Powers("function", counted(ask.scope, one["name"]), partial(_known, names)))
    return _of_powers(found, ask, none)


def _known(names: dict[int, str], number: int) -> str:
    return names.get(number, str(number))


@dataclass(frozen=True)
class _Powers:
    """Calls that were counted by the power of two of how long they took; `field` says what was called, `called` its name."""

    field: str
    found: Counted
    called: Callable[[int], str]

    def names(self, by: str, replay: Replay) -> NDArray[np.int32]:
        """Return what each is called by a field, as ids of `replay.names`."""
        if by == self.field:
            numbers, which = np.unique(self.found.rows[by], return_inverse=True)
            ids = [replay.names.id(self.called(number)) for number in numbers.tolist()]
            return np.array(ids, np.int32)[which]
        names = np.where(self.found.thread >= 0, replay.timeline.threads["name"][self.found.thread], NOBODY)
        return named_by(by, self.found.thread, names.astype(np.int32), replay)


def _of_powers(parts: list[_Powers], ask: Ask, none: Latencies) -> Latencies:
    parts = [part for part in parts if len(part.found)]
    if not parts:
        return none
    columns: list[list[NDArray[Any]]] = []
    for part in parts:
        rows = part.found.rows
        power = rows["power"].astype(np.int64)
        latency_ns = np.where(power, 1 << np.minimum(power, 61), 0)
        ended_ns = np.minimum(part.found.time_ns, ask.scope.recording.ended_ns) - ask.scope.recording.began_ns
        codes = [part.names(by, ask.replay) for by in ask.by]
        count = rows["count"].astype(np.int64)
        kept = ask.scope.selection.lasting(latency_ns) & (count > 0)
        columns.append([column[kept] for column in (ended_ns, latency_ns, count, *codes)])
    ended_ns, latency_ns, count, *codes = (np.concatenate(column) for column in zip(*columns, strict=True))
    labels = {by: Label(code, ask.replay.naming.name) for by, code in zip(ask.by, codes, strict=True)}
    return replace(none, ended_ns=ended_ns, latency_ns=latency_ns, labels=labels, count=count)


def _event_label(name: str, found: Events, replay: Replay) -> Label:
    """Label events by what `--by` calls their threads, or by a field of theirs."""
    if name in BY:
        return Label(found.named_by(name, replay), replay.naming.name)
    values, codes = np.unique(found.rows.payload[name], return_inverse=True)
    return Label(codes, [_text(value) for value in values.tolist()].__getitem__)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


TRACED = Kind("a number of traced events (events:FIELD), when they happened", (), _pairs)

KINDS = {
    "off-cpu": Kind("time off the CPU, when threads ran again", WAIT_FIELDS, partial(_view, OFF_CPU)),
    "blocked": Kind(
        "the part of it until they were woken, when threads ran again", WAIT_FIELDS, partial(_view, OFF_WAKE)
    ),
    "run-queue": Kind(
        "the part of it in which another thread had the CPU, when threads ran again", WAIT_FIELDS, _run_queue
    ),
    "on-cpu": Kind("samples of what ran, by how long threads ran at a stretch", (*BY, "cpu"), _running),
    "block-io": Kind(
        "service time of block I/O requests, when they completed", REQUEST_FIELDS, partial(_requests, "service_ns")
    ),
    "block-io-queue": Kind(
        "time of block I/O requests in a queue, when they left it", REQUEST_FIELDS, partial(_requests, "queued_ns")
    ),
    "dns": Kind("how long name look-ups took, when they ended", LOOKUP_FIELDS, _lookups),
    "pairs": Kind("the time between two traced events (trace:A..B by FIELD), when the second came", (), _pairs),
    "syscalls": Kind("how long system calls took, to a power of two, by the second", ("call", *BY), _syscalls),
    "functions": Kind(
        "how long calls of timed functions took, to a power of two, by the second", ("function", *BY), _functions
    ),
    "tcp-sessions": Kind(
        "how long TCP sessions lasted, when they were closed", CONNECTION_FIELDS, partial(_of_connections, lifetimes)
    ),
    "connect": Kind(
        "how long TCP connections took to be answered, when they were", CONNECTION_FIELDS, partial(_of_connections, connects)
    ),
    "tcp-rtt": Kind(
        "round-trip times of TCP connections, at most 100 a second of each",
        CONNECTION_FIELDS,
        partial(_of_connections, round_trips),
    ),
} | {
    name: Kind(summary, CONNECTION_FIELDS, partial(_of_connections, partial(way, name))) for name, summary in WAYS.items()
}
