"""What fired in an interrupt: the block request that completed there, or the TCP packet that arrived, and so woke.

A waking out of a request's end comes right after the request's completion was recorded on the same CPU, in the same
interrupt; a waking out of a packet's delivery right after that was. The waking's stack tells which of the two it is
(interrupts.py), and what was recorded last on the CPU is what fired, if the CPU has neither switched nor lost events since.

A flush is a request of its own: the requests that it was for complete after it in the same interrupt, once more and
without having been issued for it. Their end is the flush's.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled
from offwake.analyzer.decode import Rows
from offwake.analyzer.groups import Groups
from offwake.analyzer.interrupts import BLOCK, TCP

__all__ = ["FLUSH", "NOTHING", "OPERATIONS", "OPERATION_BITS", "End", "Ends", "without_time"]

NOTHING = -1
"""Nothing that is known of fired: it was no interrupt, or one whose cause was not recorded."""

# REQ_OP_*, include/linux/blk_types.h
OPERATIONS = {0: "read", 1: "write", 2: "flush", 3: "discard", 5: "secure erase", 7: "zone append", 9: "write zeroes"}
OPERATION_BITS = 0xFF
FLUSH = 2
NOT_ISSUED, UNKNOWN = -1, -2
"""Instead of an operation: a completion of a request that is known but not issued, and any other without an issue."""

MILLISECOND = 1_000_000
SERVICE_TIME = re.compile(r", \d+ (?:µs|ms|s)\]$")
UNITS = ("B", "KiB", "MiB", "GiB")
NO_SIZE = -1
SHORTEST = -10  # as a power of two of a millisecond
INET = 2

# What happens to a request, in the order in which it does when the clock says the same.
QUEUED, ISSUED, REQUEUED, COMPLETED = range(4)
STEPS = {
    "block_io_start": QUEUED,
    "block_rq_insert": QUEUED,
    "block_rq_issue": ISSUED,
    "block_rq_requeue": REQUEUED,
    "block_rq_complete": COMPLETED,
}
STEP = np.dtype(
    [("request", "i8"), ("time_ns", "i8"), ("bytes", "i8"), ("device", "i8"), ("operation", "i4"), ("step", "i4"),
     ("place", "i4")],
    align=True,
)  # fmt: skip
"""A step of a request. `bytes` are those issued or completed, `device` is major and minor as halves of 64 bits,
`place` is a completion's among those of its stretch."""

FIRED = np.dtype(
    [("time_ns", "i8"), ("service_ns", "i8"), ("bytes", "i8"), ("device", "i8"), ("request", "i8"), ("operation", "i4"),
     ("cpu", "i4"), ("kind", "i4"), ("label", "i4")],
    align=True,
)  # fmt: skip
"""What fired: a completion or a packet; `kind` is a place in KINDS, `label` the number of its End."""

KINDS = (BLOCK, TCP)
ORDERED = ("sched_switch", "sched_waking", "block_rq_complete", "tcp_data_ready")
Columns = list[NDArray[np.int32]]


@dataclass(frozen=True)
class End:
    """What ended waits: `what` it was, and of a request its service time, to a power of two of a millisecond."""

    what: str
    service_ns: int | None = None

    def __str__(self) -> str:
        return f"[{self.what}]" if self.service_ns is None else f"[{self.what}, {_duration(self.service_ns)}]"


def without_time(waker: str) -> str:
    """Return a waker's name as a picture has it without the service time, if it has one: `[vda read 4 KiB]`."""
    return SERVICE_TIME.sub("]", waker)


class Ends:
    """All that fired in a recording. Feed it stretches of events in the order of time.

    `devices` names devices by "major:minor", `kind_before` is `interrupts.fired_before` for the id of a stack.
    """

    def __init__(self, devices: dict[str, str], kind_before: Callable[[int], str | None]) -> None:
        self._devices, self._kind_before = devices, kind_before
        self._kinds: dict[int, int] = {}
        self._labels: list[End] = []
        self._requests = _Names(self._labels, 5, self._request)
        self._sockets = _Names(self._labels, 11, _packet)
        self._open = np.empty(0, STEP)  # of each request that was seen: that it is issued, or only that it is known
        self._last = np.empty(0, FIRED)  # what fired last on each CPU that has not switched since

    def feed(self, rows: dict[str, Rows]) -> NDArray[np.int32]:
        """Take the events of a stretch, by kind; returns the label of what fired before each of its wakings (int32, N)."""
        wakings = rows.get("sched_waking")
        found = np.full(len(wakings) if wakings else 0, NOTHING, np.int32)
        fired = np.concatenate((self._last, self._completed(rows), self._arrived(rows)))
        if not len(fired):
            return found
        fired = fired[np.lexsort((fired["time_ns"], fired["cpu"]))]
        order = _Order(rows)
        key, epoch = order.of(fired["cpu"], fired["time_ns"])
        _inherit(fired, epoch)
        self._label(fired)
        if wakings:
            at, waking_epoch = order.of(wakings.cpu, wakings.time_ns)
            before = np.searchsorted(key, at, side="right") - 1
            fits = (before >= 0) & (epoch[before] == waking_epoch) & (fired["cpu"][before] == wakings.cpu)
            fits[fits] = fired["kind"][before[fits]] == self._kinds_before(wakings.stack[fits])
            found[fits] = fired["label"][before[fits]]
        last = np.append(np.flatnonzero(np.diff(fired["cpu"])), len(fired) - 1)
        self._last = fired[last][epoch[last] == order.last_epoch(fired["cpu"][last])]
        return found

    def end(self, label: int) -> End:
        """Return what a label stands for."""
        return self._labels[label]

    def _completed(self, rows: dict[str, Rows]) -> NDArray[np.void]:
        """Return the completions of a stretch, each with what its issue said."""
        done = rows.get("block_rq_complete")
        fired = np.zeros(len(done) if done else 0, FIRED)
        steps = np.concatenate([self._open, *(_steps(rows[name], step) for name, step in STEPS.items() if name in rows)])
        if done:
            fired["time_ns"], fired["cpu"], fired["label"] = done.time_ns, done.cpu, NOTHING
            fired["request"], fired["bytes"] = done.payload["request"], done.payload["bytes"]
        if len(steps) > len(self._open):
            steps = steps[np.lexsort((steps["step"], steps["time_ns"], steps["request"]))]
            still_open = np.empty(len(steps), STEP)
            still_open = still_open[: _follow(steps, fired, still_open)]
            self._open = still_open[still_open["step"] != COMPLETED]
        return fired

    def _arrived(self, rows: dict[str, Rows]) -> NDArray[np.void]:
        """Return the packets of a stretch."""
        packets = rows.get("tcp_data_ready")
        fired = np.zeros(len(packets) if packets else 0, FIRED)
        if packets:
            fired["time_ns"], fired["cpu"] = packets.time_ns, packets.cpu
            fired["kind"], fired["operation"] = KINDS.index(TCP), UNKNOWN
            fired["label"] = self._sockets.labels(_endpoints(packets.payload))
        return fired

    def _label(self, fired: NDArray[np.void]) -> None:
        """Label the completions of requests whose issue is known."""
        is_known = fired["operation"] >= 0
        known = fired[is_known]
        size = np.where((known["operation"] == FLUSH) | (known["bytes"] <= 0), NO_SIZE, _exponent(known["bytes"], 1))
        service = np.maximum(_exponent(known["service_ns"], MILLISECOND), SHORTEST)
        device = (known["device"] >> 32).astype(np.int32), known["device"].astype(np.int32)
        fired["label"][is_known] = self._requests.labels([*device, known["operation"], size, service])

    def _kinds_before(self, stacks: NDArray[np.int32]) -> NDArray[np.int32]:
        ids, which = np.unique(stacks, return_inverse=True)
        for stack in ids.tolist():
            if stack not in self._kinds:
                kind = self._kind_before(stack)
                self._kinds[stack] = KINDS.index(kind) if kind else NOTHING
        return np.array([self._kinds[stack] for stack in ids.tolist()], np.int32)[which]

    def _request(self, key: list[int]) -> End:
        major, minor, operation, size, service = key
        numbers = f"{major % (1 << 32)}:{minor % (1 << 32)}"
        words = [self._devices.get(numbers, numbers), OPERATIONS.get(operation, "other")]
        if size != NO_SIZE:
            words.append(f"{1 << size % 10} {UNITS[size // 10]}")
        return End(" ".join(words), round(MILLISECOND * 2.0**service))


class _Names:
    """Labels by tuples of ids, named once each."""

    def __init__(self, labels: list[End], width: int, name: Callable[[list[int]], End]) -> None:
        self._all, self._name = labels, name
        self._groups = Groups(width)
        self._of_group: list[int] = []

    def labels(self, columns: Columns) -> NDArray[np.int32]:
        groups = self._groups.ids(columns)
        for key in self._groups.keys[len(self._of_group) :].tolist():
            self._of_group.append(len(self._all))
            self._all.append(self._name(key))
        return np.array(self._of_group, np.int32)[groups]


class _Order:
    """The order of a stretch's events on each CPU, and the epochs that switches and gaps cut it into.

    Two events of one CPU are of one epoch if it neither switched nor lost events between them.
    """

    CPU_AT = 48  # a key is the CPU, and below this bit nanoseconds since the stretch began, 0 for what was before it

    def __init__(self, rows: dict[str, Rows]) -> None:
        times = [rows[name].time_ns for name in ORDERED if rows.get(name)]
        if gaps := rows.get("lost"):  # they count from their end on; where they begin may be long before the recording
            times.append(gaps.payload["until_ns"])
        self._start_ns = min((int(part.min()) for part in times), default=0)
        cuts = [np.empty(0, np.int64)]
        if switches := rows.get("sched_switch"):
            cuts.append(self._key(switches.cpu, switches.time_ns))
        if gaps:
            cuts.append(self._key(gaps.cpu, gaps.payload["until_ns"]))
        self._cuts = np.sort(np.concatenate(cuts))

    def of(self, cpu: NDArray[np.int32], time_ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return events' keys and epochs."""
        key = self._key(cpu, time_ns)
        return key, np.searchsorted(self._cuts, key, side="right")

    def last_epoch(self, cpu: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the last epoch of CPUs."""
        return np.searchsorted(self._cuts, (cpu.astype(np.int64) + 1) << self.CPU_AT, side="left")

    def _key(self, cpu: NDArray[np.int32], time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        since_ns = np.clip(time_ns - self._start_ns + 1, 0, (1 << self.CPU_AT) - 1)
        return (cpu.astype(np.int64) << self.CPU_AT) + since_ns


def _steps(rows: Rows, step: int) -> NDArray[np.void]:
    steps = np.zeros(len(rows), STEP)
    steps["request"], steps["time_ns"], steps["step"] = rows.payload["request"], rows.time_ns, step
    if step == ISSUED:
        steps["bytes"], steps["operation"] = rows.payload["bytes"], rows.payload["command"] & OPERATION_BITS
        steps["device"] = rows.payload["major"].astype(np.int64) << 32 | rows.payload["minor"].astype(np.int64)
    elif step == COMPLETED:
        steps["bytes"], steps["place"] = rows.payload["bytes"], np.arange(len(rows))
    return steps


@compiled
def _follow(steps: NDArray[np.void], fired: NDArray[np.void], still_open: NDArray[np.void]) -> int:
    """Match completions to issues, steps being in the order of requests and time; returns how many requests there are.

    A completion of part of a request leaves the rest issued.
    """
    count = 0
    for index in range(len(steps)):
        step = steps[index]
        is_seen = index > 0 and steps[index - 1].request == step.request
        if not is_seen:
            state = still_open[count]
            count += 1
            state.request, state.step = step.request, COMPLETED
        if step.step == COMPLETED:
            end = fired[step.place]
            end.operation, end.service_ns = UNKNOWN if state.step == COMPLETED else NOT_ISSUED, NOTHING
            if state.step == ISSUED:
                end.operation, end.device, end.service_ns = state.operation, state.device, step.time_ns - state.time_ns
                state.bytes -= step.bytes
                if state.bytes <= 0:
                    state.step = QUEUED
        elif step.step == ISSUED:
            state.time_ns, state.bytes, state.device = step.time_ns, step.bytes, step.device
            state.operation, state.step = step.operation, ISSUED
        else:
            state.step = QUEUED
            state.time_ns = step.time_ns
    return count


def _inherit(fired: NDArray[np.void], epoch: NDArray[np.int64]) -> None:
    """Give completions without an issue the end that they follow in the same interrupt: a flush, or their own data's."""
    places = np.arange(len(fired))
    source = np.maximum.accumulate(np.where(fired["operation"] >= 0, places, -1))
    heir = (fired["operation"] == NOT_ISSUED) & (source >= 0)
    heir &= (fired["cpu"][source] == fired["cpu"]) & (epoch[source] == epoch)
    heir &= (fired["operation"][source] == FLUSH) | (fired["request"][source] == fired["request"])
    for column in ("operation", "device", "service_ns", "bytes"):
        fired[column][heir] = fired[column][source[heir]]


def _exponent(values: NDArray[np.int64], unit: int) -> NDArray[np.int32]:
    return np.rint(np.log2(np.maximum(values, 1) / unit)).astype(np.int32)


def _duration(ns: int) -> str:
    if ns < MILLISECOND:
        return f"{round(ns / 1000)} µs"
    ms = ns // MILLISECOND
    return f"{ms} ms" if ms < 1000 else f"{ms // 1024} s"


def _endpoints(payload: NDArray[Any]) -> Columns:
    """Return the family, both ports, and both addresses as four words each."""
    is_v4 = payload["family"] == INET
    columns = [payload["family"].astype(np.int32), payload["local_port"].astype(np.int32)]
    columns.append(payload["remote_port_be"].byteswap().astype(np.int32))
    for side in ("local", "remote"):
        v4 = payload[f"{side}4"].astype("<u4").view("<i4")
        v6 = np.frombuffer(np.ascontiguousarray(payload[f"{side}6"]).tobytes(), "<i4").reshape(-1, 4)
        columns += [np.where(is_v4, v4 if word == 0 else 0, v6[:, word]).astype(np.int32) for word in range(4)]
    return columns


def _packet(key: list[int]) -> End:
    """Name a packet's connection by the side that serves: the smaller port."""
    family, local_port, remote_port, *words = key
    octets = np.array(words[4:], "<i4").tobytes()
    address = ipaddress.ip_address(octets[:4] if family == INET else octets)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    remote = "(redacted)" if address.is_unspecified else str(mapped or address)  # nobody is connected to that one
    if not remote_port:  # a listening socket
        return End(f"TCP to :{local_port}")
    if local_port < remote_port:
        return End(f"TCP from {remote} to :{local_port}")
    return End(f"TCP from [{remote}]:{remote_port}" if ":" in remote else f"TCP from {remote}:{remote_port}")
