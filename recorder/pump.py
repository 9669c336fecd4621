"""From the rings to blocks: empties every CPU's rings, and closes blocks by size and time.

Nothing here runs per event. What lies in a ring is copied as it is, the room given back at once, and the copies are joined
into a block when they reach half a megabyte or a second has passed.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field
from typing import Any

from offwake.format import values
from offwake.format.layout import Kind
from offwake.format.records import Fork, Lost, Mmap2, Unreadable, sideband_records
from offwake.format.writer import Block
from offwake.recorder.binaries.files import FileKeeper
from offwake.recorder.growth import Growth
from offwake.recorder.host.processes import ProcessTable
from offwake.recorder.host.snapshot import clocks
from offwake.recorder.kernel.ring import Ring, RingSpan
from offwake.recorder.programs.program import Program
from offwake.recorder.rings import Rings
from offwake.recorder.stacks.code_map import CodeMaps
from offwake.recorder.stacks.kernel_frames import KernelFrames
from offwake.recorder.stacks.lessons import ASKED_FOR, lessons
from offwake.recorder.stacks.user_frames import UserFrames
from offwake.recorder.writer_thread import WriterThread

__all__ = ["Pump", "SegmentSize"]

BLOCK_BYTES = 512 << 10
ROUND_NS = 1_000_000_000
QUEUE_BYTES = 32 << 20
SIDEBAND_BYTES = 8 << 20  # more for what makes addresses readable, when the queue is full


@dataclass(frozen=True)
class SegmentSize:
    """After what time, or how many bytes of events, a new segment begins."""

    ns: int = 10 * ROUND_NS
    bytes: int = 64 << 20


@dataclass
class _Stream:
    """What has been taken out of one ring and is not in a block yet."""

    ring: Ring
    kind: Kind
    spans: list[RingSpan] = field(default_factory=list)
    size: int = 0
    begin_ns: int = 0


class Pump:
    """Moves what the kernel writes into the writer's queue. `keyframe` makes the payload that opens a segment."""

    def __init__(
        self, rings: Rings, program: Program, thread: WriterThread, keyframe: Callable[[], dict[str, Any]]
    ) -> None:
        self.table = ProcessTable()
        self.keeper = FileKeeper()
        self.segment_size = SegmentSize()
        self._kernel_frames = KernelFrames(program, self.keeper.kernel)
        self._user_frames = UserFrames(program, self.table, self.keeper)
        self._code = CodeMaps(program, self.table, self.keeper, self._user_frames)
        self._rings, self._program, self._thread, self._keyframe = rings, program, thread, keyframe
        self._samples: list[_Stream] = []
        self._sideband: list[_Stream] = []
        self._counts: dict[int, tuple[int, int]] = {}
        self._round_ns = self._segment_ns = 0
        self._segment_bytes = self._held_bytes = 0
        self._sideband_lost = self._sideband_lost_at_scan = self._told_lost = 0
        self._cpus_changed = False

    def prepare(self) -> None:
        """Tell the kernel where code is, before it sends any stack; and hold on to what only root may read."""
        self.keeper.keep_kernel()
        if self._program.user_stack_bytes:
            table = ProcessTable()
            table.scan_mappings()
            CodeMaps(self._program, table, self.keeper).begin()

    def begin(self, now_ns: int) -> None:
        """Open the first segment; the blocks that follow cover the time from now on."""
        self._take_up(now_ns)
        self._code.begin()
        self._round_ns = now_ns
        self._growth = Growth(self._program.sources)
        self._open_segment(now_ns)

    def empty(self) -> bool:
        """Take what lies in the rings. Once a second everything taken is written, with the counters.

        When the disk stalls, the rings are left as they are: the kernel counts what finds no room in them. Returns whether
        the kernel has asked for something: when it has been told it will ask on.
        """
        now = time.monotonic_ns()
        self._follow([(stream, span) for stream in self._sideband for span in self._take(stream, now)])
        self._code.follow(now)
        has_asked = self._learn()
        self._take_samples(now)
        if now - self._round_ns >= ROUND_NS and self._has_room(QUEUE_BYTES):
            self.close_round(now)
            if self._cpus_changed:  # whatever began there meanwhile, no record tells of
                self.table.scan()
            segment_ends = now - self._segment_ns >= self.segment_size.ns or self._segment_bytes >= self.segment_size.bytes
            if self._cpus_changed or segment_ends:
                self._open_segment(now)
        return has_asked

    def _take_waiting(self, now: int) -> None:
        """Take also what waits in the kernel to be sent together; not while the disk stalls, when the rings have no room."""
        self._take_samples(now)
        if self._has_room(QUEUE_BYTES):
            self._program.send_waiting()
            self._take_samples(now)

    def _take_samples(self, now: int) -> None:
        for stream in self._samples:
            for _ in self._take(stream, now):
                pass

    def _learn(self) -> bool:
        for cpu in self._rings.cpus:
            if cpu.lessons and (span := cpu.lessons.take()):
                for lesson in lessons(span.data):
                    if lesson.kind == ASKED_FOR:
                        self._user_frames.ask(lesson.number, lesson.words[0])
                    else:
                        self._kernel_frames.learn(lesson)
        self._kernel_frames.follow()
        return self._user_frames.answer()

    def close_round(self, now: int) -> None:
        """Write everything that was sent before `now`, and what was lost until then."""
        self._take_waiting(now)
        changes = self._rings.changes
        gaps = self._rings.follow(self._round_ns, now)
        self._take_up(now)
        self._round_ns = now
        tick = self._tick(now) | {
            "cpu_gaps": [list(astuple(gap)) for gap in gaps],
            "ns_pids": self.table.take_contained(),
            "grown": self._growth.taken(),
            "probed": self._program.take_probed(),
        }
        self._close_blocks(now)
        self._write(Block(Kind.TICK, begin_ns=now, end_ns=now), tick)
        self._cpus_changed |= self._rings.changes > changes

    def end(self) -> None:
        """Take and write what is left, now that no program runs and nothing else writes into the rings any more."""
        while not self._thread.error:
            self.empty()
            holds_any = any(stream.ring.holds_any for stream in (*self._samples, *self._sideband))
            if self._has_room(QUEUE_BYTES) and not holds_any:
                break
            time.sleep(0.001)  # the disk stalls
        self._take_waiting(time.monotonic_ns())
        self._program.give_up_waiting({rings.cpu for rings in self._rings.cpus if rings.alive})
        self.close_round(time.monotonic_ns())

    def _take_up(self, now: int) -> None:
        """Begin to take what is in the rings of CPUs that have been given some."""
        for cpu in self._rings.cpus[len(self._samples) :]:
            self._samples.append(_Stream(cpu.samples, Kind.EVENTS, begin_ns=now))
            self._sideband.append(_Stream(cpu.sideband, Kind.SIDEBAND, begin_ns=now))

    def _open_segment(self, now: int) -> None:
        self._segment_ns, self._segment_bytes, self._cpus_changed = now, 0, False
        if self._sideband_lost > self._sideband_lost_at_scan:
            self._sideband_lost_at_scan = self._sideband_lost
            self.table.rescan()
        self._write(Block(Kind.KEYFRAME, begin_ns=now, end_ns=now), self._keyframe() | self.table.as_values())
        self._program.begin_segment()
        self.table.age()

    def _has_room(self, bound: int) -> bool:
        return self._thread.pending_bytes + self._held_bytes < bound

    def _take(self, stream: _Stream, now: int) -> Iterator[RingSpan]:
        """Take what lies in a ring, as long as there is room for it in the queue.

        What comes meanwhile can wait, but for a ring that is taken in parts: small spans cost more than large ones.
        """
        bound = QUEUE_BYTES + (SIDEBAND_BYTES if stream.kind == Kind.SIDEBAND else 0)
        while self._has_room(bound) and (span := stream.ring.take()):
            stream.spans.append(span)
            stream.size += len(span.data)
            self._held_bytes += len(span.data)
            if stream.size >= BLOCK_BYTES:
                self._close_block(stream, now)
            elif self._held_bytes >= QUEUE_BYTES // 2:  # many CPUs, none of which has a whole block
                self._close_blocks(now)
            yield span
            if len(span.data) < BLOCK_BYTES:
                break

    def _close_blocks(self, now: int) -> None:
        for stream in (*self._sideband, *self._samples):
            self._close_block(stream, now)

    def _close_block(self, stream: _Stream, now: int) -> None:
        begin_ns, stream.begin_ns = stream.begin_ns, now
        if not stream.spans:
            return
        cpu = stream.ring.event.cpu
        attempted, lost = self._counts.get(cpu, (0, 0))
        spans, size, stream.spans, stream.size = stream.spans, stream.size, [], 0
        block = Block(stream.kind, cpu, begin_ns, now, spans[0].tail, spans[-1].head, attempted, lost)
        self._thread.put(size, self._thread.writer.write, block, [span.data for span in spans])
        self._segment_bytes += size
        self._held_bytes -= size

    def _follow(self, spans: list[tuple[_Stream, RingSpan]]) -> None:
        """Keep the process table up to date, and hold on to the files of programs that may be gone in a moment."""
        found = [
            record
            for stream, span in spans
            for record in sideband_records(span.data, stream.ring.event.spec.sample_type)
            if not isinstance(record, Unreadable)
        ]
        self._told_lost += sum(record.lost for record in found if isinstance(record, Lost))
        records = [record for record in found if not isinstance(record, Lost)]
        for record in sorted(records, key=lambda record: record.time_ns):
            self.table.apply(record)
            if isinstance(record, Fork) and record.pid != record.ppid:
                self.table.look_inside(record.pid)
            if isinstance(record, Mmap2):
                self.keeper.keep(record)
                self._program.follow(record)

    def _tick(self, now: int) -> dict[str, Any]:
        tallies = self._program.tallies()
        for cpu, kinds in tallies.items():
            self._counts[cpu] = (sum(t.attempted for t in kinds.values()), sum(t.failed for t in kinds.values()))
        self._sideband_lost = max(self._rings.sideband_lost(), self._told_lost)  # before Linux 6.0 only the ring tells
        return {
            "time_ns": now,
            "clocks": clocks(),
            "counters": {
                cpu: {kind: tally.as_row() for kind, tally in kinds.items()} for cpu, kinds in tallies.items()
            },
            "side_band_lost": self._sideband_lost,
            "recursion_misses": self._program.recursion_misses(),
            "counted": self._program.take_counted(),
        }

    def _write(self, block: Block, value: Any) -> None:
        packed = values.pack(value)
        self._thread.put(len(packed), self._thread.writer.write, block, packed)
