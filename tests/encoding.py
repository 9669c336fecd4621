"""The bytes that the kernel and the recorder make of events: perf records, keyframes and symbols.

Every function gets an address on first use, kernel functions in the kernel's range and the others in one program that
all processes map, and the recording carries the symbols that turn the addresses back into names.
"""

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from offwake.format.layout import Kind
from tests.events import (
    DEAD,
    Comm,
    Event,
    Exit,
    Fork,
    Known,
    Lost,
    Other,
    Sample,
    Stack,
    Switch,
    Trace,
    WakeupNew,
    Waking,
    state_letter,
)

__all__ = ["KIND_IDS", "Encoder", "Record", "batched", "clocks", "unwind_tables"]

BOOT_OFFSET_NS = 7_000_000_000
"""CLOCK_BOOTTIME ahead of CLOCK_MONOTONIC: the machine was once suspended for seven seconds."""
REALTIME_OFFSET_NS = 1_700_000_000_000_000_000
PROC_TICK_NS = 10_000_000
"""/proc tells a thread's start in hundredths of a second."""

# linux/perf_event.h
RECORD_LOST, RECORD_COMM, RECORD_EXIT, RECORD_FORK, RECORD_SAMPLE, RECORD_MMAP2 = 2, 3, 4, 7, 9, 10
MISC_COMM_EXEC, MISC_MMAP_BUILD_ID = 1 << 13, 1 << 14
SAMPLE_TID, SAMPLE_TIME, SAMPLE_CALLCHAIN, SAMPLE_RAW, SAMPLE_IDENTIFIER = 1 << 1, 1 << 2, 1 << 5, 1 << 10, 1 << 16
SAMPLE_AT, RAW_AT = 8, 24  # in a record: its identifier, and its raw data if it has no call chain
EVENTS_IN_BATCH = 50
CONTEXT_KERNEL, CONTEXT_USER = 2**64 - 128, 2**64 - 512

PERF_EVENTS = {
    "with-stack": SAMPLE_IDENTIFIER | SAMPLE_TIME | SAMPLE_CALLCHAIN | SAMPLE_RAW,
    "without-stack": SAMPLE_IDENTIFIER | SAMPLE_TIME | SAMPLE_RAW,
    "kernel-stack": SAMPLE_IDENTIFIER | SAMPLE_TIME | SAMPLE_CALLCHAIN | SAMPLE_RAW,
    "on-cpu": SAMPLE_IDENTIFIER | SAMPLE_TID | SAMPLE_TIME | SAMPLE_CALLCHAIN,
    "side-band": SAMPLE_IDENTIFIER | SAMPLE_TID | SAMPLE_TIME,
}
KINDS: dict[str, list[tuple[str, str, int]]] = {
    "sched_switch": [("flags", "<u2", 2), ("prev", "<u4", 4), ("prev_tgid", "<u4", 8), ("next", "<u4", 12),
                     ("state", "<u4", 16)],
    "sched_waking": [("flags", "<u2", 2), ("waker", "<u4", 4), ("waker_tgid", "<u4", 8), ("target", "<u4", 12),
                     ("target_tgid", "<u4", 16)],
    "sched_wakeup_new": [("flags", "<u2", 2), ("waker", "<u4", 4), ("target", "<u4", 8), ("target_tgid", "<u4", 12),
                         ("comm", "S16", 16)],
    "cpu_sample_whole": [("flags", "<u2", 2), ("tgid", "<u4", 4), ("tid", "<u4", 8)],
    "block_io_start": [("flags", "<u2", 2), ("tid", "<u4", 4), ("request", "<u8", 8), ("major", "<u4", 16),
                       ("minor", "<u4", 20)],
    "block_rq_insert": [("flags", "<u2", 2), ("tid", "<u4", 4), ("request", "<u8", 8)],
    "block_rq_issue": [("flags", "<u2", 2), ("tid", "<u4", 4), ("request", "<u8", 8), ("sector", "<u8", 16),
                       ("bytes", "<u4", 24), ("command", "<u4", 28), ("major", "<u4", 32), ("minor", "<u4", 36)],
    "block_rq_requeue": [("flags", "<u2", 2), ("tid", "<u4", 4), ("request", "<u8", 8)],
    "block_rq_complete": [("flags", "<u2", 2), ("bytes", "<u4", 4), ("request", "<u8", 8)],
    "tcp_state": [("flags", "<u2", 2), ("tid", "<u4", 4), ("socket", "<u8", 8), ("old_state", "<u4", 16),
                  ("new_state", "<u4", 20), ("bytes_acked", "<u8", 24), ("bytes_received", "<u8", 32),
                  ("local4", "<u4", 40), ("remote4", "<u4", 44), ("local6", "V16", 48), ("remote6", "V16", 64),
                  ("family", "<u2", 80), ("local_port", "<u2", 82), ("remote_port_be", "<u2", 84)],
    "tcp_first_send": [("flags", "<u2", 2), ("tid", "<u4", 4), ("socket", "<u8", 8), ("length", "<u8", 16),
                       ("local4", "<u4", 24), ("remote4", "<u4", 28), ("local6", "V16", 32), ("remote6", "V16", 48),
                       ("family", "<u2", 64), ("local_port", "<u2", 66), ("remote_port_be", "<u2", 68)],
    "tcp_data_ready": [("flags", "<u2", 2), ("tid", "<u4", 4), ("socket", "<u8", 8), ("local4", "<u4", 16),
                       ("remote4", "<u4", 20), ("local6", "V16", 24), ("remote6", "V16", 40), ("family", "<u2", 56),
                       ("local_port", "<u2", 58), ("remote_port_be", "<u2", 60)],
    "tcp_destroy": [("flags", "<u2", 2), ("tid", "<u4", 4), ("socket", "<u8", 8)],
    "tcp_retransmit": [("flags", "<u2", 2), ("tid", "<u4", 4), ("socket", "<u8", 8), ("segments", "<u2", 16),
                       ("state", "u1", 18), ("local4", "<u4", 20), ("remote4", "<u4", 24), ("local6", "V16", 28),
                       ("remote6", "V16", 44), ("family", "<u2", 60), ("local_port", "<u2", 62),
                       ("remote_port_be", "<u2", 64)],
    "tcp_send": [("flags", "<u2", 2), ("tid", "<u4", 4), ("socket", "<u8", 8), ("length", "<u4", 16)],
    "tcp_receive": [("flags", "<u2", 2), ("tid", "<u4", 4), ("socket", "<u8", 8), ("length", "<u4", 16)],
    "tcp_drop": [("flags", "<u2", 2), ("tid", "<u4", 4), ("socket", "<u8", 8), ("reason", "<u4", 16),
                 ("length", "<u4", 20), ("source", "V16", 24), ("destination", "V16", 40), ("family", "<u2", 56),
                 ("source_port_be", "<u2", 58), ("destination_port_be", "<u2", 60), ("state", "u1", 62),
                 ("tcp_flags", "u1", 63)],
    "net_to_driver": [("flags", "<u2", 2), ("packet", "<u8", 8), ("socket", "<u8", 16), ("latency_ns", "<u8", 24),
                      ("local4", "<u4", 32), ("remote4", "<u4", 36), ("local6", "V16", 40), ("remote6", "V16", 56),
                      ("family", "<u2", 72), ("local_port", "<u2", 74), ("remote_port_be", "<u2", 76)],
    "net_to_wire": [("flags", "<u2", 2), ("packet", "<u8", 8), ("latency_ns", "<u8", 16)],
    "dns_lookup": [("flags", "<u2", 2), ("tid", "<u4", 4), ("latency_ns", "<u8", 8), ("failed", "u1", 16),
                   ("host", "S255", 17)],
}  # fmt: skip
ENUMS = {"skb_drop_reason": {3: "SKB_DROP_REASON_NO_SOCKET", 104: "SKB_DROP_REASON_QUEUE_PURGE"}}
KIND_IDS = {name: number for number, name in enumerate(KINDS, 1)}

PROGRAM, BUILD_ID = "/usr/bin/program", bytes(range(20))
KERNEL_TEXT, PROGRAM_BASE, TEXT_OFFSET, TEXT_SIZE = 0xFFFFFFFF81000000, 0x550000000000, 0x1000, 0x100000
FUNCTION_SIZE, CALL_AT = 0x100, 0x10

# The stacks of format/stacks.py, where every function's frame is of sixteen bytes.
KERNEL_STACK_FLAG, USER_STACK_FLAG, HERE, STACK_POINTER, FRAME_WORDS = 0x4000, 0x8000, 2, 0x7FFC00000000, 2
CFA_FROM_SP, AT_CFA = 1, 1


@dataclass(frozen=True)
class Record:
    """The bytes of one record, the ring that it is in, and the event that it tells of."""

    ring: Kind
    event: Event
    data: bytes


def clocks(time_ns: int) -> dict[str, int]:
    """Return what the clocks show when the monotonic one shows `time_ns`."""
    return {
        "monotonic_ns": time_ns,
        "boottime_ns": time_ns + BOOT_OFFSET_NS,
        "realtime_ns": time_ns + REALTIME_OFFSET_NS,
    }


def batched(records: Iterable[Record]) -> Iterator[bytes]:
    """Yield the records of a ring as the recorder sends them: in one what needs nothing of the kernel and comes in a row."""
    waiting: list[Record] = []
    for record in records:
        (by,) = struct.unpack_from("<Q", record.data, SAMPLE_AT)
        goes_alone = by != _event_id(record.event.cpu, "without-stack")
        after_ns = record.event.time_ns - waiting[-1].event.time_ns if waiting else 0
        if waiting and (goes_alone or not 0 <= after_ns < 1 << 32 or len(waiting) == EVENTS_IN_BATCH):
            yield _batch(waiting)
            waiting = []
        if goes_alone:
            yield record.data
        else:
            waiting.append(record)
    if waiting:
        yield _batch(waiting)


def _batch(records: list[Record]) -> bytes:
    times = [records[0].event.time_ns, *(record.event.time_ns for record in records)]
    data = records[0].data[SAMPLE_AT:RAW_AT]  # the time is of no matter
    raw = struct.pack("<IQ", 0, times[0])
    for record, after_ns in zip(records, (second - first for first, second in pairwise(times)), strict=True):
        event = record.data[RAW_AT + 4 :]
        event += bytes(-len(event) % 8)
        raw += struct.pack("<II", after_ns, len(event)) + event
    return _record(RECORD_SAMPLE, data + struct.pack("<I", len(raw)) + raw)


class Encoder:
    """Turns events, given in the order of time, into perf records, and follows what /proc would show meanwhile."""

    def __init__(self, trace: Trace) -> None:
        self.symbols = _Symbols()
        self._trace = trace
        self._bases: Counter[int] = Counter()
        self._stacks: dict[tuple[int, ...], int] = {}
        self._sent: set[int] = set()
        self._kernel_stacks: dict[bytes, int] = {}
        self._sent_kernel: set[int] = set()
        self._tasks = {known.tid: _Task(known) for known in trace.threads}

    def threads(self) -> list[list[Any]]:
        """Return the living threads as a keyframe has them."""
        return [task.row() for task in self._tasks.values()]

    def keyframe(self, time_ns: int) -> dict[str, Any]:
        """Return what opens a segment at this time."""
        trace = self._trace
        tgids = sorted({task.known.tgid for task in self._tasks.values()})
        return {
            "version": "0.1.0",
            "host": "testhost",
            "kernel": "6.18.0",
            "machine": "x86_64",
            "boot_id": "00000000-0000-4000-8000-000000000000",
            "command": ["offwake", "record"],
            "cpus": list(range(trace.cpus)),
            "page_size": 4096,
            "clocks": clocks(time_ns),
            "began_ns": trace.began_ns,
            "recorder_pid": trace.recorder_pid,
            "events": [
                {"id": _event_id(cpu, name), "cpu": cpu, "name": name, "sample_type": sample_type, "source": "sched"}
                for cpu in range(trace.cpus)
                for name, sample_type in PERF_EVENTS.items()
            ],
            "kinds": [
                {
                    "id": KIND_IDS[name],
                    "name": name,
                    "source": _source(name),
                    "size": _size(name),
                    "fields": [["kind", "<u2", 0], *map(list, fields)],
                }
                for name, fields in KINDS.items()
            ],
            "enums": ENUMS,
            "sources": ["sched", "on-cpu"],
            "unavailable": {},
            "files": [[PROGRAM, BUILD_ID]],
            "mappings": [
                [tgid, self._base(tgid) + TEXT_OFFSET, self._base(tgid) + TEXT_OFFSET + TEXT_SIZE, TEXT_OFFSET, 0]
                for tgid in tgids
            ],
            "threads": self.threads(),
            "cgroups": trace.cgroups,
            "devices": {"254:0": "vda"},
        }

    def encode(self, event: Event) -> Iterator[Record]:
        """Yield the event's records."""
        match event:
            case Switch():
                prev, flags = event.prev, int(event.preempted)
                yield self._bpf(event, (flags, prev, self._tgid(prev), event.next, event.state))
            case Waking():
                waker, target = event.waker, event.target
                yield self._bpf(event, (0, waker, self._tgid(waker), target, self._tgid(target)))
            case WakeupNew():
                yield self._bpf(event, (0, event.waker, event.target, event.tgid, event.comm.encode()))
            case Sample() if self._trace.user_stacks and _has_user_part(event.stack):
                chain, user = self._split(event.stack, event.tid)
                flags = KERNEL_STACK_FLAG | USER_STACK_FLAG
                follows = struct.pack("<Q", 0) + user
                yield self._raw(event, "cpu_sample_whole", (flags, self._tgid(event.tid), event.tid), chain, follows)
            case Sample():
                identifier = _event_id(event.cpu, "on-cpu")
                ids = struct.pack("<QIIQ", identifier, self._tgid(event.tid), event.tid, event.time_ns)
                data = ids + self._chain(event.stack, event.tid)
                yield Record(Kind.EVENTS, event, _record(RECORD_SAMPLE, data))
            case Other():
                fields = [event.fields.get(name, bytes(16) if dtype == "V16" else 0) for name, dtype, _ in KINDS[event.kind]]
                yield self._raw(event, event.kind, tuple(fields))
            case Lost():
                identifier = _event_id(event.cpu, "with-stack")
                data = struct.pack("<QQQQ", identifier, event.count, event.time_ns, identifier)
                yield Record(Kind.EVENTS, event, _record(RECORD_LOST, data))
            case Comm():
                tgid = self._tgid(event.tid)
                data = struct.pack("<II", tgid, event.tid) + _text(event.comm)
                yield self._side(event, event.tid, _Side(RECORD_COMM, data, MISC_COMM_EXEC if event.by_exec else 0))
                if event.by_exec:
                    self._bases[tgid] += 1
                    yield self._side(event, event.tid, self._mmap(tgid, event.tid))
            case Fork():
                parent_tgid = self._tgid(event.parent)
                data = struct.pack("<IIIIQ", event.tgid, parent_tgid, event.tid, event.parent, event.time_ns)
                yield self._side(event, event.parent, _Side(RECORD_FORK, data))
                if event.tgid == event.tid:
                    self._bases[event.tgid] = self._bases[parent_tgid]
            case Exit():
                data = struct.pack("<IIIIQ", self._tgid(event.tid), 1, event.tid, 1, event.time_ns)
                yield self._side(event, event.tid, _Side(RECORD_EXIT, data))

    def follow(self, event: Event) -> None:
        """Bring the threads to what they are after the event."""
        match event:
            case Switch():
                if event.state & DEAD:
                    self._tasks.pop(event.prev, None)
                else:
                    self._change(event.prev, state=state_letter(event.state), stack=event.stack)
                self._change(event.next, state="R", cpu=event.cpu)
            case Waking():
                self._change(event.target, state="R")
            case WakeupNew():
                born = Known(event.target, event.tgid, event.comm, "R", event.cpu)
                self._tasks[event.target] = _Task(born, event.time_ns + BOOT_OFFSET_NS)
            case Comm():
                self._change(event.tid, comm=event.comm)

    def _change(self, tid: int, **changes: Any) -> None:
        if tid in self._tasks:
            self._tasks[tid].known = replace(self._tasks[tid].known, **changes)

    def _tgid(self, tid: int) -> int:
        return self._tasks[tid].known.tgid if tid in self._tasks else tid

    def _base(self, tgid: int) -> int:
        """Return where the process has the program; every exec maps it anew."""
        return PROGRAM_BASE + self._bases[tgid] * 2 * TEXT_SIZE

    def _bpf(self, event: Switch | Waking | WakeupNew, values: tuple[int | bytes, ...]) -> Record:
        name = {Switch: "sched_switch", Waking: "sched_waking", WakeupNew: "sched_wakeup_new"}[type(event)]
        current = event.prev if isinstance(event, Switch) else event.waker
        stack = (*event.stack, "bpf_trace_run4_[k]", "bpf_prog_x_[k]") if event.stack else ()
        if self._trace.user_stacks and stack:
            chain, user = self._split(stack, current)
            flags, *others = values
            assert isinstance(flags, int)
            number = self._kernel_stacks.setdefault(chain, len(self._kernel_stacks) + 1)
            is_new = number not in self._sent_kernel
            self._sent_kernel.add(number)
            flags |= KERNEL_STACK_FLAG | (USER_STACK_FLAG if user else 0)
            return self._raw(event, name, (flags, *others), chain if is_new else b"", struct.pack("<Q", number) + user)
        return self._raw(event, name, values, self._chain(stack, current) if stack else b"")

    def _raw(
        self, event: Event, name: str, values: tuple[int | bytes, ...], chain: bytes = b"", follows: bytes = b""
    ) -> Record:
        raw = _payload(name, values) + follows
        raw += bytes(-(len(raw) + 4) % 8)
        output = ("kernel-stack" if follows else "with-stack") if chain else "without-stack"
        data = struct.pack("<QQ", _event_id(event.cpu, output), event.time_ns) + chain
        return Record(Kind.EVENTS, event, _record(RECORD_SAMPLE, data + struct.pack("<I", len(raw)) + raw))

    def _chain(self, stack: Stack, tid: int) -> bytes:
        """Return a call chain: its length, then the kernel's frames and the program's, leaf first."""
        base = self._base(self._tgid(tid))
        kernel = [self.symbols.kernel(frame) for frame in reversed(stack) if frame.endswith("_[k]")]
        program = [self.symbols.program(frame, base) for frame in reversed(stack) if not frame.endswith("_[k]")]
        words = [CONTEXT_KERNEL, *kernel] * bool(kernel) + [CONTEXT_USER, *program] * bool(program)
        return struct.pack(f"<{len(words) + 1}Q", len(words), *words)

    def _split(self, stack: Stack, tid: int) -> tuple[bytes, bytes]:
        """Return the kernel's part of a stack as a call chain, and the program's, if any, as a user stack."""
        kernel = self._chain(tuple(frame for frame in stack if frame.endswith("_[k]")), tid)
        if not _has_user_part(stack):
            return kernel, b""
        tgid = self._tgid(tid)
        base = self._base(tgid)
        ip, *callers = (self.symbols.program(frame, base) for frame in reversed(stack) if not frame.endswith("_[k]"))
        number = self._stacks.setdefault((tgid, ip, *callers), len(self._stacks) + 1)
        is_new = number == len(self._stacks) and number not in self._sent
        words = [(FRAME_WORDS * depth - 1) << 48 | caller for depth, caller in enumerate(callers, 1)] if is_new else []
        user = struct.pack("<QIHH", number, tgid, len(words), HERE if is_new else 0)
        if is_new:
            self._sent.add(number)
            user += struct.pack(f"<{5 + len(words)}Q", ip, STACK_POINTER, 0, 0, 0, *words)
        return kernel, user

    def _mmap(self, tgid: int, tid: int) -> "_Side":
        start = self._base(tgid) + TEXT_OFFSET
        data = struct.pack("<IIQQQ", tgid, tid, start, TEXT_SIZE, TEXT_OFFSET)
        data += struct.pack("<B3x20sII", len(BUILD_ID), BUILD_ID, 5, 2) + _text(PROGRAM)
        return _Side(RECORD_MMAP2, data, MISC_MMAP_BUILD_ID)

    def _side(self, event: Event, tid: int, side: "_Side") -> Record:
        trailer = struct.pack("<IIQQ", self._tgid(tid), tid, event.time_ns, _event_id(event.cpu, "side-band"))
        return Record(Kind.SIDEBAND, event, _record(side.type, side.data + trailer, side.misc))


@dataclass
class _Task:
    """A living thread, as /proc would show it at the moment that the encoder has reached."""

    known: Known
    start_boottime_ns: int = 0

    def row(self) -> list[Any]:
        known = self.known
        stack = [frame.removesuffix("_[k]") for frame in reversed(known.stack) if frame.endswith("_[k]")]
        asleep = known.state != "R" and stack
        start = self.start_boottime_ns // PROC_TICK_NS * PROC_TICK_NS
        return [known.tid, known.tgid, known.comm, known.state, known.cpu, start, stack if asleep else None]


class _Symbols:
    """Addresses of functions, given out as they are asked for."""

    def __init__(self) -> None:
        self._kernel: dict[str, int] = {}
        self._program: dict[str, int] = {}

    def kernel(self, name: str) -> int:
        start = self._kernel.setdefault(name.removesuffix("_[k]"), KERNEL_TEXT + len(self._kernel) * FUNCTION_SIZE)
        return start + CALL_AT

    def program(self, name: str, base: int) -> int:
        start = self._program.setdefault(name, TEXT_OFFSET + len(self._program) * FUNCTION_SIZE)
        return base + start + CALL_AT

    def payload(self) -> dict[str, Any]:
        program = [[start, FUNCTION_SIZE, name] for name, start in self._program.items()]
        return {
            "kernel": [[start, FUNCTION_SIZE, name, ""] for name, start in self._kernel.items()],
            "files": [[PROGRAM, BUILD_ID, program]],
        }


@dataclass(frozen=True)
class _Side:
    type: int
    data: bytes
    misc: int = 0


def unwind_tables() -> dict[str, Any]:
    """Return the payload of an UNWIND block: one row for all of the program."""
    row = struct.pack("<IBBBBiiii", TEXT_OFFSET, CFA_FROM_SP, AT_CFA, 0, 0, 8 * FRAME_WORDS, -8, 0, 0)
    return {"files": [[PROGRAM, BUILD_ID, BUILD_ID, row]]}


def _has_user_part(stack: Stack) -> bool:
    return any(not frame.endswith("_[k]") for frame in stack)


def _event_id(cpu: int, name: str) -> int:
    return 100 * (cpu + 1) + list(PERF_EVENTS).index(name)


def _source(kind: str) -> str:
    """Return the source of a kind of event."""
    first, _, _ = kind.partition("_")
    return {"cpu": "on-cpu", "net": "net-stack"}.get(first, first)


def _size(kind: str) -> int:
    """Return how long a kind's payload is."""
    _, dtype, at = KINDS[kind][-1]
    return at + struct.calcsize(_code(dtype))


def _payload(kind: str, values: tuple[int | bytes, ...]) -> bytes:
    """Return a payload with every field at its place."""
    octets = bytearray(_size(kind))
    struct.pack_into("<H", octets, 0, KIND_IDS[kind])
    for (_, dtype, at), value in zip(KINDS[kind], values, strict=True):
        struct.pack_into("<" + _code(dtype), octets, at, value)
    return bytes(octets)


def _code(dtype: str) -> str:
    """Return the struct code of a numpy dtype."""
    return {"u1": "B", "<u2": "H", "<u4": "I", "<u8": "Q", "S16": "16s", "S255": "255s", "V16": "16s"}[dtype]


def _text(text: str) -> bytes:
    """Return the text with one NUL at least, padded to eight bytes."""
    encoded = text.encode() + b"\0"
    return encoded + bytes(-len(encoded) % 8)


def _record(kind: int, data: bytes, misc: int = 0) -> bytes:
    return struct.pack("<IHH", kind, misc, 8 + len(data)) + data
