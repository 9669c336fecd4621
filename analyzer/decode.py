"""From a ring's bytes to columns: one walk over the records of a span, in compiled code.

What a record's payload means is not known here: a recording carries the layout of every kind of event, and a kind's rows
come out as a numpy structured array of that layout.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled
from offwake.analyzer.kernel_stacks import KernelStacks
from offwake.analyzer.shapes import EVENTS, require
from offwake.analyzer.stacks import NOT_ELSEWHERE, Chains, StackTable
from offwake.analyzer.strings import with_strings
from offwake.analyzer.user_stacks import UserStacks
from offwake.format.records import (
    BATCH_KIND,
    RECORD_LOST,
    RECORD_SAMPLE,
    SAMPLE_CALLCHAIN,
    SAMPLE_RAW,
    SAMPLE_TID,
)
from offwake.format.stacks import KERNEL_ID, KERNEL_STACK_FLAG, USER_STACK_FLAG

__all__ = ["CPU_SAMPLE", "LOST", "Decoder", "KindLayout", "Rows", "kind_layouts"]

CPU_SAMPLE, LOST = 0, 0xFFFF
"""Kinds that are no BPF event: a sample of what ran, and a note that records are missing."""

PROGRAM_FRAMES = 2
"""Frames at the leaf of a BPF event's chain that are the recorder's: the program, and bpf_trace_runN that called it. A
sample's chain begins at what was interrupted."""
SAMPLE_NAMES = ("cpu_sample", "cpu_sample_whole")
WAITING = {"sched", "on-cpu"}
"""Sources whose events may wait to be sent together; those of others overtake them, and say nothing of what is missing."""

SAMPLE_DTYPE = np.dtype([("tgid", "<u4"), ("tid", "<u4")])
LOST_DTYPE = np.dtype([("until_ns", "<i8"), ("lost", "<u8")])


@dataclass(frozen=True)
class KindLayout:
    """A kind of event: its name, the source it belongs to, and the numpy type of its payload.

    One that was `traced` the kernel wrote itself. Its `strings` are fields that say where a text lies behind the others, in
    whose place rows have the text.
    """

    name: str
    source: str
    dtype: np.dtype[Any]
    traced: bool = False
    strings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rows:
    """Events of one kind: `time_ns` (int64), `cpu` (int32), `stack` (int32), `payload` (structured), each of length N."""

    time_ns: NDArray[np.int64]
    cpu: NDArray[np.int32]
    stack: NDArray[np.int32]
    payload: NDArray[Any]

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take in memory."""
        return self.time_ns.nbytes + self.cpu.nbytes + self.stack.nbytes + self.payload.nbytes

    def where(self, which: NDArray[Any]) -> "Rows":
        """Return some of the rows, in the order of `which` (a mask or indices)."""
        return Rows(self.time_ns[which], self.cpu[which], self.stack[which], self.payload[which])

    def between(self, first_ns: int | None, last_ns: int | None) -> "Rows":
        """Return the rows from one time to another, both included; None for no bound."""
        if not len(self):
            return self
        low = int(self.time_ns.min()) if first_ns is None else first_ns
        high = int(self.time_ns.max()) if last_ns is None else last_ns
        if self.time_ns.min() >= low and self.time_ns.max() <= high:
            return self
        return self.where((self.time_ns >= low) & (self.time_ns <= high))

    @staticmethod
    def joined(parts: list["Rows"]) -> "Rows":
        """Put rows of one kind after each other."""
        if len(parts) == 1:
            return parts[0]
        columns = zip(*((p.time_ns, p.cpu, p.stack, p.payload) for p in parts), strict=True)
        return Rows(*(np.concatenate(column) for column in columns))


def kind_layouts(keyframe: dict[str, Any]) -> dict[int, KindLayout]:
    """Read the layouts of a recording's events from its keyframe; the two that are not declared there are added."""
    found = {
        CPU_SAMPLE: KindLayout("cpu_sample", "on-cpu", SAMPLE_DTYPE),
        LOST: KindLayout("lost", "", LOST_DTYPE),
    }
    for kind in keyframe["kinds"]:
        names, formats, offsets = zip(*kind["fields"], strict=True)
        layout = {"names": names, "formats": formats, "offsets": offsets, "itemsize": kind["size"]}
        dtype = np.dtype(layout)  # type: ignore[call-overload]
        strings = tuple(kind.get("strings", ()))
        found[kind["id"]] = KindLayout(kind["name"], kind["source"], dtype, bool(kind.get("traced")), strings)
    return found


class Decoder:
    """Turns spans into rows; stacks are interned into `stacks` on the way, what they refer to is kept in `kernel_stacks` and
    `user_stacks`. `last_ns` has of each CPU the time of its last event that keeps its place among those that wait to be sent
    together: where something is missing after it, the gap begins there."""

    def __init__(self, keyframe: dict[str, Any], stacks: StackTable) -> None:
        self.layouts = kind_layouts(keyframe)
        self.unreadable_bytes = 0
        self.last_ns: dict[int, int] = {}
        self.kernel_stacks = KernelStacks(stacks)
        self.user_stacks = UserStacks()
        self._stacks = stacks
        self._types: dict[int, int] = {}
        self.learn(keyframe)
        self._sizes = np.zeros(LOST + 1, np.int64)
        self._skips = np.full(LOST + 1, PROGRAM_FRAMES, np.int32)
        self._flags = np.full(LOST + 1, 0xFFFF, np.uint16)
        self._is_in_order = np.full(LOST + 1, "sched" not in keyframe["sources"])
        for kind, layout in self.layouts.items():
            self._sizes[kind] = layout.dtype.itemsize
            self._skips[kind] = 0 if layout.traced or layout.name in SAMPLE_NAMES else PROGRAM_FRAMES
            self._flags[kind] = 0 if layout.traced else 0xFFFF  # what lies there are other flags
            self._is_in_order[kind] |= layout.source in WAITING

    def learn(self, keyframe: Any) -> None:
        """Take what a segment's keyframe says of the perf events: a CPU that came back has others.

        Raises DamagedRecording for one that says nothing of them.
        """
        events = require(keyframe, {"events": EVENTS}, "keyframe")["events"]
        self._types |= {event["id"]: event["sample_type"] for event in events}
        self._ids = np.array([*self._types], np.uint64)
        self._sample_types = np.array([*self._types.values()], np.uint64)

    def decode(self, span: bytes, cpu: int) -> dict[int, Rows]:
        """Return the rows of a span of one CPU's ring by kind, in the order of the ring.

        Spans of a CPU come in their order. A LOST row's time is the `last_ns` before it: the gap is from there to its
        payload's `until_ns`.
        """
        usable = len(span) - len(span) % 8
        words = np.frombuffer(span, np.uint64, usable // 8)
        records = np.empty(usable // 16 + 1, _RECORD)
        count, read = _walk(words, self._ids, self._sample_types, records)
        self.unreadable_bytes += len(span) - 8 * read
        records = records[:count]
        records["flags"] &= self._flags[records["kind"]]
        octets = np.frombuffer(span, np.uint8)
        stack = self._stacks.intern(self._chains(words, octets, records))
        found = {}
        for kind in np.flatnonzero(np.bincount(records["kind"])) if count else ():
            layout = self.layouts.get(int(kind))
            mine = np.flatnonzero(records["kind"] == kind)
            if layout is None:
                continue
            size = layout.dtype.itemsize
            mine = mine[records["payload"][mine] + size <= records["end"][mine]]
            if not len(mine):  # they are shorter than their kind is
                continue
            payload = np.zeros((len(mine), size), np.uint8)
            _gather(octets, records["payload"][mine], payload)
            times, rows = records["time_ns"][mine], payload.reshape(-1).view(layout.dtype)
            if layout.strings:
                rows = with_strings(rows, octets, records["payload"][mine], layout.strings)
            elif "flags" in (layout.dtype.names or ()) and not layout.traced:
                rows["flags"] &= ~np.uint16(KERNEL_STACK_FLAG | USER_STACK_FLAG)
            if kind == LOST:
                rows["until_ns"], times = times, self._before(records, mine, cpu)
            found[int(kind)] = Rows(times, np.full(len(mine), cpu, np.int32), stack[mine], rows)
        if len(last := np.flatnonzero(self._is_in_order[records["kind"]])[-1:]):
            self.last_ns[cpu] = int(records["time_ns"][last[0]])
        return found

    def _chains(self, words: NDArray[np.uint64], octets: NDArray[np.uint8], records: NDArray[Any]) -> Chains:
        """Return the chains of a span's records, with what stands elsewhere of them."""
        count = len(records)
        follows = records["payload"] + self._sizes[records["kind"]]
        elsewhere = np.full(count, NOT_ELSEWHERE, np.int32)
        skips = self._skips[records["kind"]]
        chains = Chains(words, records["chain"], records["chain_length"], skips, elsewhere, elsewhere)
        kernel, user = elsewhere.copy(), elsewhere.copy()
        named = records["flags"] & KERNEL_STACK_FLAG != 0
        whole = np.flatnonzero(named & (follows + KERNEL_ID.size <= np.minimum(records["end"], len(octets))))
        if len(whole):
            ids = np.zeros((len(whole), KERNEL_ID.size), np.uint8)
            _gather(octets, follows[whole], ids)
            kernel[whole] = self.kernel_stacks.take(ids.reshape(-1).view(np.uint64), chains.some(whole))
        if len(goes_on := np.flatnonzero(records["flags"] & USER_STACK_FLAG)):
            head = np.where(named, follows + KERNEL_ID.size, follows)[goes_on]
            user[goes_on] = self.user_stacks.take(octets, head, records["end"][goes_on])
        length = np.where(kernel == NOT_ELSEWHERE, chains.length, 0).astype(np.int32)
        return Chains(words, chains.start, length, skips, kernel, user)

    def _before(self, records: NDArray[Any], which: NDArray[np.int64], cpu: int) -> NDArray[np.int64]:
        """Return `last_ns` before some of the records; nothing is known before a CPU's first one."""
        in_order = self._is_in_order[records["kind"]]
        last = np.maximum.accumulate(np.where(in_order, np.arange(len(records)), -1))
        times = np.append(records["time_ns"], self.last_ns.get(cpu, 0))  # the one at −1
        before: NDArray[np.int64] = np.minimum(times[np.append(-1, last)[which]], records["time_ns"][which])
        return before


_RECORD = np.dtype(
    [("time_ns", "i8"), ("payload", "i8"), ("end", "i8"), ("chain", "i8"), ("chain_length", "i4"), ("kind", "u2"),
     ("flags", "u2")],
    align=True,
)  # fmt: skip


@compiled
def _walk(
    words: NDArray[np.uint64], ids: NDArray[np.uint64], sample_types: NDArray[np.uint64], records: NDArray[np.void]
) -> tuple[int, int]:
    """Fill `records`; returns how many there are, and how many words could be read. Stops at the first impossible size."""
    at, count, size, unread = 0, 0, 0, 0
    while at < len(words):
        header = words[at]
        kind, size = header & np.uint64(0xFFFFFFFF), int(header >> np.uint64(48)) >> 3
        if size == 0 or at + size > len(words):
            break
        end = at + size
        if kind == RECORD_SAMPLE and size >= 4:
            sample_type = np.uint64(0)
            for index in range(len(ids)):
                if ids[index] == words[at + 1]:
                    sample_type = sample_types[index]
                    break
            field = at + 2
            payload, chain, chain_length, number, flags = 0, 0, 0, CPU_SAMPLE, 0
            if sample_type & np.uint64(SAMPLE_TID):
                payload = 8 * field
                field += 1
            time_ns = np.int64(words[field])
            field += 1
            fits = sample_type != 0
            if fits and sample_type & np.uint64(SAMPLE_CALLCHAIN):
                fits = field < end and words[field] < np.uint64(end - field)
                if fits:
                    chain, chain_length = field + 1, int(words[field])
                    field = chain + chain_length
            if fits and sample_type & np.uint64(SAMPLE_RAW):
                fits = field < end
                if fits:
                    payload = 8 * field + 4
                    number = int(words[field] >> np.uint64(32)) & 0xFFFF
                    flags = int(words[field] >> np.uint64(48))
                    if number == BATCH_KIND:
                        count, unpacked = _unpack(words, field + 1, end, records, count)
                        unread += end - unpacked
                        fits = False
            if fits:
                _put(records[count], time_ns, payload, 8 * end, number, flags)
                records[count].chain = chain
                records[count].chain_length = chain_length
                count += 1
        elif kind == RECORD_LOST and size >= 5:
            _put(records[count], np.int64(words[end - 2]), 8 * (at + 1), 8 * end, LOST, 0)
            count += 1
        at = end
    return count, at - unread


@compiled
def _unpack(words: NDArray[np.uint64], at: int, end: int, records: NDArray[np.void], count: int) -> tuple[int, int]:
    """Fill `records` from the `count`-th on with the events of a batch, whose time is the word `at`; returns how many there
    are then, and the word where it ended: before `end` at the first impossible size or kind."""
    if at >= end:
        return count, at
    time_ns = np.int64(words[at])
    at += 1
    while at < end:
        size = int(words[at] >> np.uint64(32))
        after = at + 1 + (size >> 3)
        if size == 0 or size & 7 or after > end:
            break
        kind, flags = int(words[at + 1]) & 0xFFFF, int(words[at + 1]) >> 16 & 0xFFFF
        if kind == BATCH_KIND or kind == LOST:
            break
        time_ns += np.int64(words[at] & np.uint64(0xFFFFFFFF))
        _put(records[count], time_ns, 8 * (at + 1), 8 * after, kind, flags)
        count += 1
        at = after
    return count, at


@compiled
def _put(record: Any, time_ns: np.int64, payload: int, end: int, number: int, flags: int) -> None:
    record.time_ns = time_ns
    record.payload = payload
    record.chain = 0
    record.chain_length = 0
    record.kind = number
    record.flags = flags
    record.end = end


@compiled
def _gather(octets: NDArray[np.uint8], offsets: NDArray[np.int64], rows: NDArray[np.uint8]) -> None:
    for row in range(len(offsets)):
        for column in range(rows.shape[1]):
            rows[row, column] = octets[offsets[row] + column]
