"""One pass over a recording: segment by segment, events in time order, what they brought to an end.

Rings of different CPUs are written one after another, an interrupt can nest between an event's timestamp and its place in
the ring, and some events wait for others to be sent with. So the events of a segment wait until the next one is decoded:
what is earlier than everything in it is taken. What comes later still, and is older than its block, had waited for its CPU,
which was offline: that time is a gap, and it is left out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.address_space import AddressSpaces, Mapping
from offwake.analyzer.cgroups import Cgroups
from offwake.analyzer.columns import Columns
from offwake.analyzer.completions import NOTHING, Ends
from offwake.analyzer.decode import LOST, LOST_DTYPE, SAMPLE_NAMES, Decoder, Rows
from offwake.analyzer.interrupts import fired_before
from offwake.analyzer.intervals import BORN, EVENT, GAP, MOVED, NAMED, NEVER, SAMPLED, SWITCHED, WOKEN
from offwake.analyzer.naming import Naming
from offwake.analyzer.shapes import require_clocks, require_tick
from offwake.analyzer.stacks import NO_STACK, SNAPSHOT_STACKS, StackTable
from offwake.analyzer.states import bits_of
from offwake.analyzer.symbols import KERNEL, PYTHON, Symbolizer, python_code
from offwake.analyzer.timeline import Activity, Timeline
from offwake.analyzer.unwind import Unwinder
from offwake.analyzer.whole_stacks import WholeStacks
from offwake.format.layout import BlockHeader, Kind
from offwake.format.records import Comm, Fork, Mmap2, sideband_records

if TYPE_CHECKING:
    from offwake.analyzer.recording import Recording

__all__ = ["Batch", "Names", "Replay"]

KEPT_AT_MOST = 1 << 29  # bytes: about ten million scheduling events
TIMELINE_KINDS = ("sched_switch", "sched_waking", "sched_wakeup_new")
SideRecord = Comm | Fork | Mmap2
ASLEEP = "SDTtIP"
PREEMPTED = np.uint16(1)
NO_SPACE = -1
LAST_ADDRESS = (1 << 64) - 1


@dataclass
class Names:
    """Strings by id, each once."""

    texts: list[str] = field(default_factory=list)
    _ids: dict[str, int] = field(default_factory=dict)

    def id(self, text: str) -> int:
        """Return a string's id."""
        if text not in self._ids:
            self._ids[text] = len(self.texts)
            self.texts.append(text)
        return self._ids[text]


@dataclass(frozen=True)
class Batch:
    """What a stretch of time brought: activity that ended in it, and the events of other kinds than the timeline's.

    All events of a stretch are earlier than those of the next; within it, only those of one CPU are nearly in order.
    """

    activity: Activity
    events: dict[str, Rows]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return self.activity.nbytes + sum(rows.nbytes for rows in self.events.values())


class Replay:
    """Iterate over it for batches; the tables it fills are complete when the iteration has ended.

    What a pass brought is kept, if it is small enough, so that further passes need not decode it again. A replay that
    is not `kept` can be iterated over once.
    """

    def __init__(self, recording: "Recording") -> None:
        self.recording = recording
        self.stacks = StackTable()
        self.names = Names()
        self.spaces = AddressSpaces()
        self.listeners = set(recording.listeners)
        self.cgroups = Cgroups(recording.keyframe["cgroups"], recording.snapshot["cgroups"])
        scanned_ns = recording.keyframe["clocks"]["monotonic_ns"]
        self.symbolizer = Symbolizer(recording.symbols, self.spaces)
        self.ends = Ends(recording.keyframe["devices"], self._fired_before)
        self._kinds_before: dict[tuple[int, ...], str | None] = {}
        self.timeline = Timeline(recording.began_ns, recording.cpus, scanned_ns)
        self.decoder = Decoder(recording.keyframe, self.stacks)
        unwinder = Unwinder(recording.unwind_rows, self.spaces, python_code(recording.symbols))
        self.whole = WholeStacks(self.stacks, self.decoder, unwinder)
        self.counts: Counter[str] = Counter()
        self.lost_records = 0
        self._columns = Columns.over(recording.began_ns, recording.ended_ns)
        self.events_by_column = np.zeros(self._columns.count, np.int64)
        self.lost_ns_by_column = np.zeros(self._columns.count, np.int64)  # of all CPUs' time, in which events may be missing
        self.cpu_gaps: list[list[Any]] = []  # of the ticks, docs/format.md
        self.ns_pids: dict[int, int] = _pairs(recording.snapshot["ns_pids"]) | _pairs(recording.keyframe["ns_pids"])
        self.counted: dict[str, list[tuple[int, bytes]]] = defaultdict(list)  # rows of maps, by the time of their TICK
        self.probed: list[list[Any]] = list(recording.keyframe["probed"])  # and of the ticks
        self.grown: list[tuple[int, dict[str, dict[str, int]]]] = []  # of the ticks, with their times
        self.clocks = [require_clocks(recording.keyframe["clocks"], "keyframe.clocks")]
        self.snapshot_stacks: list[tuple[str, ...]] = []
        self._kept: list[Batch] | None = None
        self._events = np.empty(0, EVENT)
        self._ring_heads: dict[int, int] = {}
        self._lost_by_cpu: Counter[int] = Counter()
        self._without_ring: Counter[int] = Counter()  # events by CPU, until the last tick
        self._ticked_ns = self._taken_ns = recording.began_ns
        self._kind_names = {kind: layout.name for kind, layout in self.decoder.layouts.items()}
        self._timeline_kinds = {*TIMELINE_KINDS, *SAMPLE_NAMES, self._kind_names[LOST]}
        self._read_keyframe()
        self.naming = Naming(self)

    @property
    def kept(self) -> bool:
        """Whether a pass is complete and in memory: the next one costs next to nothing."""
        return self._kept is not None

    def __iter__(self) -> Iterator[Batch]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Batch] = []
        room = KEPT_AT_MOST
        for batch in self._pass():
            room -= batch.nbytes
            if room >= 0:
                kept.append(batch)
            else:
                kept.clear()
            yield batch
        if room >= 0:
            self._kept = kept

    def _pass(self) -> Iterator[Batch]:
        waiting: dict[int, Rows] = {}
        records: list[SideRecord] = []
        for _, blocks in groupby(self.recording.reader.blocks, key=lambda block: block.segment):
            rows, fresh = self._decode(list(blocks))
            starts = [int(part.time_ns.min()) for part in rows.values()] + [record.time_ns for record in fresh]
            if not starts:
                continue
            first_ns = min(starts)
            ready, waiting = _split(waiting, first_ns)
            self._taken_ns = max([self._taken_ns, *(int(part.time_ns.max()) for part in ready.values() if len(part))])
            yield from self._batches(ready, [record for record in records if record.time_ns < first_ns])
            waiting = _joined(waiting, rows)
            records = [record for record in records if record.time_ns >= first_ns] + fresh
        waiting = _joined(waiting, self._uncounted(self.recording.last_tick, self.recording.ended_ns))
        if never_read := list(self._never_read()):
            waiting = _joined(waiting, {LOST: Rows.joined(never_read)})
        yield from self._batches(waiting, records)
        yield Batch(self.timeline.end(self.recording.ended_ns, *self._last_states()), {})

    def leader_name(self, tgid: int) -> int:
        """Return the id of the last known name of a process's first thread, −1 where it has none."""
        place = self.timeline.place(tgid)
        return int(self.timeline.threads[place]["name"]) if place >= 0 else -1

    def _fired_before(self, stack: int) -> str | None:
        """Say which kind of event comes just before a waking from this stack, see `interrupts.fired_before`."""
        addresses = tuple(address for address in self.stacks.addresses(stack) if address >= KERNEL) if stack >= 0 else ()
        if addresses not in self._kinds_before:  # whatever program was interrupted
            self._kinds_before[addresses] = fired_before(self.symbolizer.frames(list(addresses), NO_SPACE))
        return self._kinds_before[addresses]

    def _read_keyframe(self) -> None:
        keyframe = self.recording.keyframe
        stacks: dict[tuple[str, ...], int] = {}
        self._listed = {tgid for _, tgid, *_ in keyframe["threads"]}
        for tid, tgid, comm, state, _, _, stack in keyframe["threads"]:
            place = SNAPSHOT_STACKS - stacks.setdefault(tuple(stack), len(stacks)) if stack else NO_STACK
            self.timeline.add_thread(tid, tgid, self.names.id(comm), (place, bits_of(state)))
        self.snapshot_stacks = list(stacks)
        files = [self.spaces.file(path, bytes(identity)) for path, identity in keyframe["files"]]
        for tgid, start, end, offset, file in keyframe["mappings"]:
            space = self.spaces.add(tgid, Mapping(start, end, offset, files[file]))
            self.timeline.set_space(tgid, space)
            self.whole.moved(0, tgid, space)

    def _decode(self, blocks: list[BlockHeader]) -> tuple[dict[int, Rows], list[SideRecord]]:
        """Decode a segment: rows by kind, and the side-band's records, in the order of the file."""
        parts: dict[int, list[Rows]] = {}
        records: list[SideRecord] = []
        reader = self.recording.reader
        for block in blocks:
            if block.kind == Kind.KEYFRAME and (keyframe := reader.values(block)) is not None:
                self.decoder.learn(keyframe)
            is_known = block.stream < self.timeline.cpus  # what else a CPU says, the timeline could not take
            if block.kind == Kind.EVENTS and is_known:
                first_tail = NEVER if block.stream_sequence and not self.recording.is_cut else block.ring_tail
                goes_on = self._ring_heads.setdefault(block.stream, first_tail) == block.ring_tail
                if (span := reader.payload(block)) is None:
                    continue
                last_ns = self.decoder.last_ns.get(block.stream, self.recording.began_ns)
                rows = self.decoder.decode(span, block.stream)
                if not goes_on and rows:
                    first = min(int(part.time_ns[0]) for part in rows.values())
                    parts.setdefault(LOST, []).append(_gap(block.stream, last_ns, max(first, last_ns)))
                if goes_on or rows:  # else the gap lasts until the next block
                    self._ring_heads[block.stream] = block.ring_head
                self._name_python({self._kind_names[kind]: part for kind, part in rows.items()}.get("python_code"))
                late_ns = min(block.begin_ns, self._taken_ns)
                for kind, part in rows.items():
                    parts.setdefault(kind, []).append(part if kind == LOST else part.between(late_ns, None))
                    self.counts[self._kind_names[kind]] += len(part)
                    if self.decoder.layouts[kind].source in self.recording.keyframe["sources"]:
                        within = part.between(self.recording.began_ns, self.recording.ended_ns)
                        np.add.at(self.events_by_column, self._columns.of(within.time_ns), 1)
                if LOST in rows:
                    lost = int(rows[LOST].payload["lost"].sum())
                    self.lost_records += lost
                    self._lost_by_cpu[block.stream] += lost
            elif block.kind == Kind.SIDEBAND and (span := reader.payload(block)) is not None:
                records += self._side_records(span)
        for block in blocks:
            if block.kind == Kind.TICK and (tick := reader.values(block)) is not None:
                tick = require_tick(tick, "tick")
                self.cpu_gaps += tick["cpu_gaps"]
                self.ns_pids |= _pairs(tick["ns_pids"])
                self.probed += tick["probed"]
                for name, rows_of_map in tick["counted"].items():
                    self.counted[name].append((tick["time_ns"], rows_of_map))
                self.clocks += [tick["clocks"]] if "clocks" in tick else []
                self.grown += [(tick["time_ns"], tick["grown"])] if tick["grown"] else []
                parts.setdefault(LOST, []).extend(self._uncounted(tick, tick["time_ns"]).values())
                parts[LOST] += self._unwatched(tick)
        joined = {kind: Rows.joined(rows) for kind, rows in parts.items() if rows}
        return {kind: rows for kind, rows in joined.items() if len(rows)}, records

    def _name_python(self, codes: Rows | None) -> None:
        """Keep what code objects of Python are called, as perf maps of Python call functions."""
        if codes:
            columns = (codes.payload[name].tolist() for name in ("code", "function", "file"))
            for code, function, file in zip(*columns, strict=True):
                name = f"{PYTHON}{function.decode(errors='replace')}:{file.decode(errors='replace')}"
                self.symbolizer.python_names[code] = name

    def _side_records(self, span: bytes) -> Iterator[SideRecord]:
        """Yield what the side-band says of names and mappings.

        What came before the beginning is in the snapshot already, except for processes that ended before it was taken.
        """
        for record in sideband_records(span, self.recording.sideband_type):
            if isinstance(record, Comm | Fork | Mmap2) and (
                record.time_ns >= self.recording.began_ns or record.pid not in self._listed
            ):
                yield record

    def _side_events(self, records: list[SideRecord]) -> Iterator[tuple[int, ...]]:
        """Keep names and address spaces up to date, in the order of time, and yield what the timeline must know of it."""
        for record in sorted(records, key=lambda record: record.time_ns):
            if isinstance(record, Comm):
                name = self.names.id(record.comm)
                yield (record.time_ns, 0, NAMED, 0, record.tid, name, record.pid, 0, NO_STACK, NOTHING)
                if record.exec:
                    if record.pid not in self.recording.listeners:
                        self.listeners.discard(record.pid)
                    yield self._moved(record.time_ns, record.pid, self.spaces.clear(record.pid))
            elif isinstance(record, Fork):
                if "sched" not in self.recording.keyframe["sources"]:  # which tells of births otherwise
                    self._bear(record)
                if record.pid == record.ppid:
                    continue
                self.cgroups.fork(record.ppid, record.pid)
                if record.ppid in self.listeners:
                    self.listeners.add(record.pid)  # until it runs another program
                yield self._moved(record.time_ns, record.pid, self.spaces.fork(record.ppid, record.pid))
            else:
                end = min(record.start + record.length, LAST_ADDRESS)
                if record.start >= end:  # nobody maps nothing, or anything beyond all addresses
                    continue
                file = self.spaces.file(record.path, record.identity)
                mapping = Mapping(record.start, end, record.file_offset, file)
                before = self.spaces.current.get(record.pid)
                if (space := self.spaces.add(record.pid, mapping)) != before:
                    yield self._moved(record.time_ns, record.pid, space)

    def _bear(self, record: Fork) -> None:
        place, parent, threads = self.timeline.place(record.tid), self.timeline.place(record.ptid), self.timeline.threads
        if place < 0 or threads["tgid"][place] != record.pid:  # else the snapshot was taken after it was born
            name = int(threads["name"][parent]) if parent >= 0 else NEVER
            self.timeline.add_thread(record.tid, record.pid, name, (NO_STACK, 0))

    def _moved(self, time_ns: int, tgid: int, space: int) -> tuple[int, ...]:
        self.whole.moved(time_ns, tgid, space)
        return (time_ns, 0, MOVED, 0, tgid, space, 0, 0, NO_STACK, NOTHING)

    def _batches(self, rows: dict[int, Rows], records: list[SideRecord]) -> Iterator[Batch]:
        """Put the events of a stretch in order and let the timeline take them."""
        began, ended = self.recording.began_ns, self.recording.ended_ns
        within = {
            self._kind_names[kind]: part if kind == LOST else part.between(began, ended) for kind, part in rows.items()
        }
        side = list(self._side_events([record for record in records if record.time_ns <= ended]))
        within = {name: self.whole.complete(part) for name, part in within.items()}
        self.whole.forget()
        events = self._room_for(len(side) + sum(map(len, within.values())))
        events[: len(side)] = side
        count = self._fill(events, len(side), within)
        # Stable: events of one nanosecond keep the order in which their kinds are put together, see timeline.py.
        order = np.argsort(events["time_ns"][:count], kind="stable")
        others = {name: part for name, part in within.items() if name not in self._timeline_kinds}
        for activity in self.timeline.feed(events, order):
            yield Batch(activity, others)
            others = {}
        if others:
            yield Batch(Activity.nothing(), others)

    def _room_for(self, count: int) -> NDArray[np.void]:
        """Return a place for events, the same for every stretch: memory that was used before is there at once."""
        if count > len(self._events):
            self._events = np.empty(count + count // 4, EVENT)
        return self._events

    def _fill(self, events: NDArray[np.void], count: int, rows: dict[str, Rows]) -> int:
        """Add the scheduling events in the timeline's own form to the `count` that are there; returns how many there are."""
        fired = self.ends.feed(rows)

        def fill(part: Rows, kind: int, subject: Any, other: Any, tgid: Any) -> NDArray[np.void]:
            nonlocal count
            mine = events[count : count + len(part)]
            count += len(part)
            mine["time_ns"], mine["cpu"], mine["stack"], mine["type"] = part.time_ns, part.cpu, part.stack, kind
            mine["subject"], mine["other"], mine["tgid"], mine["fired"] = subject, other, tgid, NOTHING
            return mine

        if part := rows.get("sched_wakeup_new"):
            what = part.payload
            mine = fill(part, BORN, what["target"], what["waker"], what["target_tgid"])
            comms, which = np.unique(what["comm"], return_inverse=True)
            ids = np.array([self.names.id(comm.decode(errors="surrogateescape")) for comm in comms.tolist()], np.uint32)
            mine["state"] = ids[which]
        if part := rows.get("sched_waking"):
            what = part.payload
            fill(part, WOKEN, what["target"], what["waker"], what["target_tgid"])["fired"] = fired
        if part := rows.get("sched_switch"):
            what = part.payload
            mine = fill(part, SWITCHED, what["prev"], what["next"], what["prev_tgid"])
            mine["state"] = np.where(what["flags"] & PREEMPTED, 0, what["state"])
        for part in (rows[name] for name in SAMPLE_NAMES if name in rows):
            what = part.payload
            fill(part, SAMPLED, what["tid"], what["tgid"], what["tgid"])
        if part := rows.get(self._kind_names[LOST]):
            fill(part, GAP, 0, 0, 0)["until_ns"] = part.payload["until_ns"]
            bounds = self.recording.began_ns, self.recording.ended_ns
            gap = np.clip(part.time_ns, *bounds), np.clip(part.payload["until_ns"], *bounds)
            self.lost_ns_by_column += self._columns.spread(*gap)
        return count

    def _uncounted(self, tick: dict[str, Any], until_ns: int) -> dict[int, Rows]:
        """Return the gaps that only the kernel's counters know of: no record has fitted after them yet to say so."""
        found = []
        for cpu, kinds in tick.get("counters", {}).items():
            is_known = cpu < self.timeline.cpus
            failed = sum(row[2] for row in kinds.values()) - _without_ring(kinds)
            if is_known and failed > self._lost_by_cpu[cpu]:
                last_ns = self.decoder.last_ns.get(cpu, self.recording.began_ns)
                found.append(_gap(cpu, last_ns, max(last_ns, until_ns)))
        return {LOST: Rows.joined(found)} if found else {}

    def _never_read(self) -> Iterator[Rows]:
        """Yield the gaps up to the end: of CPUs whose last blocks are damaged."""
        ended = {block.stream: block.ring_head for block in self.recording.reader.blocks if block.kind == Kind.EVENTS}
        for cpu, head in self._ring_heads.items():
            if ended[cpu] != head:
                last_ns = self.decoder.last_ns.get(cpu, self.recording.began_ns)
                yield _gap(cpu, last_ns, max(last_ns, self.recording.ended_ns))

    def _unwatched(self, tick: dict[str, Any]) -> Iterator[Rows]:
        """Yield the gaps of CPUs that had no ring for some time before this tick: they went offline, or came online.

        A gap begins at the CPU's last event, if that is within it: who ran there then may have gone to another CPU.
        """
        found = [(cpu, begin_ns, end_ns) for cpu, begin_ns, end_ns, _ in tick["cpu_gaps"]]
        for cpu, kinds in tick["counters"].items():
            before, self._without_ring[cpu] = self._without_ring[cpu], _without_ring(kinds)
            if self._without_ring[cpu] > before:
                found.append((cpu, self._ticked_ns, tick["time_ns"]))
        self._ticked_ns = tick["time_ns"]
        for cpu, begin_ns, end_ns in found:
            if cpu < self.timeline.cpus:
                last_ns = self.decoder.last_ns.get(cpu, 0)
                begin_ns = last_ns if begin_ns < last_ns < end_ns else begin_ns
                yield _gap(cpu, begin_ns, max(begin_ns, end_ns))

    def _last_states(self) -> tuple[dict[int, int], set[int]]:
        """Return what the snapshot says of threads: those running, by CPU, and those asleep."""
        threads = self.recording.keyframe["threads"]
        running = {tid: cpu for tid, _, _, state, cpu, *_ in threads if state == "R"}
        return running, {tid for tid, _, _, state, *_ in threads if state in ASLEEP}


def _pairs(rows: list[list[int]]) -> dict[int, int]:
    return {key: value for key, value, *_ in rows}


def _without_ring(kinds: dict[int, list[int]]) -> int:
    """Count the events of a TICK's counters that their CPU had no ring for; older recordings do not tell."""
    return sum(row[3] for row in kinds.values() if len(row) > 3)


def _gap(cpu: int, begin_ns: int, end_ns: int) -> Rows:
    payload = np.array([(end_ns, 0)], LOST_DTYPE)
    return Rows(np.array([begin_ns]), np.array([cpu], np.int32), np.array([NO_STACK], np.int32), payload)


def _split(rows: dict[int, Rows], before_ns: int) -> tuple[dict[int, Rows], dict[int, Rows]]:
    early = {kind: part.between(None, before_ns - 1) for kind, part in rows.items()}
    late = {kind: part.between(before_ns, None) for kind, part in rows.items()}
    return early, late


def _joined(left: dict[int, Rows], right: dict[int, Rows]) -> dict[int, Rows]:
    return {
        kind: Rows.joined([rows[kind] for rows in (left, right) if kind in rows])
        for kind in sorted(left.keys() | right.keys())
    }
