"""The first answer: where the time went, what was waited for and why, who lacked a CPU, and what to look at next."""

from dataclasses import dataclass, replace
from glob import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from offwake.analyzer import query
from offwake.analyzer.histogram import percentile
from offwake.analyzer.options import words
from offwake.analyzer.profile import Profile
from offwake.analyzer.select import Selection
from offwake.analyzer.words import Wait, longest_waits

if TYPE_CHECKING:
    from offwake.analyzer.recording import Recording

__all__ = ["Circle", "Latency", "Queued", "Summary", "Tcp", "summarize"]

WAITS_SHOWN = 8
QUEUED_SHOWN = 3
CIRCLES_SHOWN = 3
PARTS = ("on_cpu_ns", "blocked_ns", "run_queue_ns", "preempted_ns", "unknown_ns")
TROUBLE = 0.05
"""Share of the time in which threads could have run that they spend waiting for a CPU, from which on it is trouble."""


@dataclass(frozen=True)
class Queued:
    """How long threads of one name waited for a CPU that ran others, and who those were, the longest first."""

    target: str
    value_ns: int
    instead: list[tuple[str, int]]


@dataclass(frozen=True)
class Circle:
    """The names of threads that waited for each other, each once, and how long they did in all."""

    names: list[str]
    blocked_ns: int


@dataclass(frozen=True)
class Latency:
    """A device's requests of one kind, and their median and 99th percentile service time."""

    device: str
    operation: str
    count: int
    bytes: int
    p50_ns: int
    p99_ns: int


@dataclass(frozen=True)
class Tcp:
    """TCP sessions, and what went wrong with them."""

    sessions: int
    retransmits: int
    retransmitted: list[dict[str, Any]]
    not_connected: int


@dataclass(frozen=True)
class Summary:
    """What `offwake summary` prints of a selection; `grep` chooses `waits` and `hidden_ns`, and nothing else. `time_ns` adds
    up the parts of its threads' time; `queued_ns` is the time in which they waited for a CPU that ran others, `wakeup_ns`
    what it took to wake idle CPUs."""

    info: dict[str, Any]
    selection: Selection
    threads: int
    time_ns: dict[str, int]
    hidden_ns: int
    waits: list[Wait]
    queued_ns: int
    wakeup_ns: int
    queued: list[Queued]
    circles: list[Circle]
    block_io: list[Latency]
    tcp: Tcp

    @property
    def lacks_cpu(self) -> bool:
        """Whether threads waited for a CPU so long that it is trouble."""
        return self.queued_ns > TROUBLE * (self.queued_ns + self.time_ns["on_cpu_ns"])

    @property
    def next_options(self) -> list[str]:
        """The options of the `flamegraph` that is worth looking at first."""
        if self.lacks_cpu:
            return ["--view", "run-queue", *words(replace(self.selection, grep=None))]
        target = self.selection.comm or (escape(self.waits[0].target) if self.waits else None)
        view = "chain" if self.info["narrowed"]["wakers"] else "off-cpu"
        return ["--view", view, *words(replace(self.selection, comm=target))]


def summarize(recording: "Recording", shown: Selection | None = None) -> Summary:
    """Look at everything that a recording holds of a selection, once."""
    shown = shown or Selection()
    whole = replace(shown, grep=None)
    threads = query.table(recording, "threads", whole).rows
    blocked = query.blocked(recording, shown)
    wakers = recording.narrowed.wakers
    chains = query.profile(recording, "chain", shown) if wakers else Profile("chain")
    run_queue = query.profile(recording, "run-queue", whole)
    total_ns = run_queue.total_ns
    queued = _queued(run_queue)
    queued_ns = sum(row.value_ns for row in queued)
    return Summary(
        info=recording.info(),
        selection=shown,
        threads=len(threads),
        time_ns={part: sum(row[part] for row in threads) for part in PARTS},
        hidden_ns=blocked.hidden_ns,
        waits=longest_waits(blocked, chains, WAITS_SHOWN),
        queued_ns=queued_ns,
        wakeup_ns=total_ns - queued_ns,
        queued=queued[:QUEUED_SHOWN],
        circles=_circles(query.table(recording, "waits-for", whole).rows)[:CIRCLES_SHOWN] if wakers else [],
        block_io=_latencies(query.table(recording, "block-io", whole).rows),
        tcp=_tcp(query.table(recording, "tcp-sessions", whole).rows),
    )


def _queued(run_queue: Profile) -> list[Queued]:
    """Add up who waited for a CPU while whom it ran. What waking an idle CPU took is no queueing."""
    found: dict[str, dict[str, int]] = {}
    for frames, weight in run_queue:
        if len(frames) == 3:
            target, _, who = frames
            instead = found.setdefault(target, {})
            instead[who] = instead.get(who, 0) + weight.value_ns
    rows = [
        Queued(target, sum(instead.values()), sorted(instead.items(), key=lambda item: -item[1]))
        for target, instead in found.items()
    ]
    return sorted(rows, key=lambda row: -row.value_ns)


def _circles(rows: list[dict[str, Any]]) -> list[Circle]:
    """Return the circles of `waits-for`; those of threads of the same names are one."""
    members: dict[int, set[str]] = {}
    blocked_ns: dict[int, int] = {}
    for row in rows:
        if circle := row["circle"]:
            members.setdefault(circle, set()).update((row["comm"], row["waited_for"]))
            blocked_ns[circle] = blocked_ns.get(circle, 0) + row["blocked_ns"]
    alike: dict[tuple[str, ...], int] = {}
    for circle, names in members.items():
        key = tuple(sorted(names))
        alike[key] = alike.get(key, 0) + blocked_ns[circle]
    return [Circle(list(names), value_ns) for names, value_ns in sorted(alike.items(), key=lambda item: -item[1])]


def _latencies(rows: list[dict[str, Any]]) -> list[Latency]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["service_ns"] is not None:
            groups.setdefault((row["device"], row["operation"]), []).append(row)
    found = []
    for (device, operation), group in sorted(groups.items()):
        service_ns = np.sort([row["service_ns"] for row in group])
        p50_ns, p99_ns = percentile(service_ns, 50), percentile(service_ns, 99)
        found.append(Latency(device, operation, len(group), sum(row["bytes"] for row in group), p50_ns, p99_ns))
    return found


def _tcp(rows: list[dict[str, Any]]) -> Tcp:
    retransmitted = sorted((row for row in rows if row["retransmits"]), key=lambda row: -row["retransmits"])
    return Tcp(
        sessions=len(rows),
        retransmits=sum(row["retransmits"] for row in rows),
        retransmitted=retransmitted[:3],
        not_connected=sum(row["state"] == "SYN_SENT" for row in rows),
    )
