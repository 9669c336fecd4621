"""The first answer: where the time went, what was waited for, and what to look at next."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from offwake.analyzer import query
from offwake.analyzer.select import Selection

if TYPE_CHECKING:
    from offwake.analyzer.recording import Recording

__all__ = ["Latency", "Summary", "Wait", "summarize"]

WAITS_SHOWN = 10
PARTS = ("on_cpu_ns", "blocked_ns", "run_queue_ns", "preempted_ns", "unknown_ns")


@dataclass(frozen=True)
class Wait:
    """What threads of one name waited in, and who ended it: `value_ns` over `count` waits."""

    target: str
    waited_in: str
    waker: str
    value_ns: int
    count: int


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
class Summary:
    """What `offwake summary` prints. `time_ns` adds up the parts of all threads' time."""

    info: dict[str, Any]
    time_ns: dict[str, int]
    hidden_ns: int
    waits: list[Wait]
    queued: list[dict[str, Any]]
    block_io: list[Latency]
    tcp: dict[str, int]


def summarize(recording: "Recording") -> Summary:
    """Look at everything that a recording holds, once."""
    everything = Selection(show_all=True)
    threads = query.table(recording, "threads", everything).rows
    shown = query.profile(recording, "off-wake", Selection())
    waits: dict[tuple[str, str, str], list[int]] = {}
    for frames, weight in shown:
        total = waits.setdefault((frames[0], _waited_in(frames), frames[-1]), [0, 0])
        total[0] += weight.value_ns
        total[1] += weight.count
    ranked = sorted(waits.items(), key=lambda item: -item[1][0])[:WAITS_SHOWN]
    sessions = query.table(recording, "tcp-sessions", everything).rows
    return Summary(
        info=recording.info(),
        time_ns={part: sum(row[part] for row in threads) for part in PARTS},
        hidden_ns=shown.hidden_ns,
        waits=[Wait(*names, value_ns, count) for names, (value_ns, count) in ranked],
        queued=sorted(threads, key=lambda row: -row["run_queue_ns"] - row["preempted_ns"])[:3],
        block_io=_latencies(query.table(recording, "block-io", everything).rows),
        tcp={"sessions": len(sessions), "retransmits": sum(row["retransmits"] for row in sessions)},
    )


# Frames of every wait: they say that it waits, not in what.
SCHEDULER = ("__schedule_[k]", "schedule_[k]", "schedule_", "io_schedule", "preempt_schedule", "__cond_resched")


def _waited_in(frames: tuple[str, ...]) -> str:
    """Name a wait by its system call if it has one, and by the function in which it waits."""
    blocked = frames[1 : frames.index("--")]
    inner = next((frame for frame in reversed(blocked) if not frame.startswith(SCHEDULER)), "")
    call = next((frame for frame in blocked if frame.startswith(("__x64_sys_", "__arm64_sys_"))), "")
    names = [call.partition("_sys_")[2].removesuffix("_[k]"), inner.removesuffix("_[k]")]
    return " in ".join(reversed([name for name in names if name])) or "[no stack]"


def _latencies(rows: list[dict[str, Any]]) -> list[Latency]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["service_ns"] is not None:
            groups.setdefault((row["device"], row["operation"]), []).append(row)
    found = []
    for (device, operation), group in sorted(groups.items()):
        p50, p99 = np.percentile([row["service_ns"] for row in group], [50, 99])
        found.append(Latency(device, operation, len(group), sum(row["bytes"] for row in group), int(p50), int(p99)))
    return found
