"""Recordings made by hand: abstract events become a file, with the blocks that the recorder would have written."""

import os
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

from offwake.format.layout import Kind
from offwake.format.writer import Block, TraceWriter
from tests.encoding import KIND_IDS, Encoder, Record, batched, clocks, unwind_tables
from tests.events import Event, Lost, Switch, Trace, WakeupNew, Waking

__all__ = ["Cut", "write_trace"]

Cut = Sequence[int]
"""Where a segment ends: a time for each CPU, as the rings are read one after the other."""

Spans = dict[int, list[Record]]
"""A ring's records by segment; a segment without any is missing."""

COUNTED_AS: dict[type[Event], str] = {Switch: "sched_switch", Waking: "sched_waking", WakeupNew: "sched_wakeup_new"}


def write_trace(path: Path, trace: Trace, cuts: Sequence[Cut] = ()) -> Path:
    """Write a complete recording of `trace`, in `len(cuts) + 1` segments; each CPU's cuts must ascend."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _Recording(trace, cuts).write(TraceWriter(fd, file_id=bytes(16)))
    finally:
        os.close(fd)
    return path


class _Recording:
    """A trace, encoded, and what has been written of it."""

    def __init__(self, trace: Trace, cuts: Sequence[Cut]) -> None:
        self._trace, self._cuts = trace, cuts
        self._encoder = Encoder(trace)
        self._keyframes: list[dict[str, Any]] = []
        self._rings = {key: self._spans(key[1], records) for key, records in sorted(self._encode().items())}
        self._heads: Counter[tuple[Kind, int]] = Counter()

    def write(self, writer: TraceWriter) -> None:
        """Write everything, segment by segment."""
        for segment, keyframe in enumerate(self._keyframes):
            writer.begin_segment(keyframe)
            for ring, cpu in self._rings:
                self._write_span(writer, segment, ring, cpu)
            # Counters are read before the rings are emptied one after another.
            tick_ns = min(self._cuts[segment]) if segment < len(self._cuts) else self._trace.ended_ns
            tick = {"time_ns": tick_ns, "counters": self._counters(segment), "recursion_misses": {}}
            tick |= self._trace.ticks.get(segment, {})
            writer.write_values(Block(Kind.TICK, begin_ns=tick_ns, end_ns=tick_ns), tick)
        at_end = clocks(self._trace.ended_ns)
        snapshot = {
            "threads": self._encoder.threads(),
            "cgroups": self._trace.cgroups_at_end,
            "listeners": self._trace.listeners,
            "clocks": at_end,
        }
        writer.write_values(Block(Kind.SNAPSHOT), snapshot)
        writer.write_values(Block(Kind.SYMBOLS), self._encoder.symbols.payload())
        writer.write_values(Block(Kind.UNWIND), unwind_tables())
        lost = sum(event.count for event in self._trace.events if isinstance(event, Lost))
        writer.finish(
            {
                "ended_ns": self._trace.ended_ns,
                "reason": "stopped",
                "events_attempted": sum(type(event) in COUNTED_AS for event in self._trace.events) + lost,
                "events_lost": lost,
                "lost_by_cause": {"ring full": lost} if lost else {},
                "clocks": at_end,
            }
        )

    def _encode(self) -> dict[tuple[Kind, int], list[Record]]:
        """Encode the events in the order of time, and return each ring's records in their own order."""
        encoder, began_ns = self._encoder, self._trace.began_ns
        keyframe_times = [began_ns, *(max(cut) for cut in self._cuts)]
        encoded: dict[Event, list[Record]] = {}
        for event in sorted(self._trace.events, key=lambda event: event.time_ns):
            while keyframe_times and keyframe_times[0] <= event.time_ns:
                self._keyframes.append(encoder.keyframe(keyframe_times.pop(0)))
            encoded[event] = list(encoder.encode(event))
            if event.time_ns >= began_ns:
                encoder.follow(event)
        self._keyframes += map(encoder.keyframe, keyframe_times)
        rings: dict[tuple[Kind, int], list[Record]] = defaultdict(list)
        for event in self._trace.events:
            for record in encoded[event]:
                rings[record.ring, event.cpu].append(record)
        return rings

    def _spans(self, cpu: int, records: list[Record]) -> Spans:
        """Cut one ring's records into segments. What arrived out of order was written together and stays together."""
        earliest = list(accumulate((record.event.time_ns for record in reversed(records)), min))[::-1]
        ends = [cut[cpu] for cut in self._cuts]
        segments = (bisect_right(ends, time_ns) for time_ns in earliest)
        grouped = groupby(zip(segments, records, strict=True), key=lambda pair: pair[0])
        return {segment: [record for _, record in pairs] for segment, pairs in grouped}

    def _write_span(self, writer: TraceWriter, segment: int, ring: Kind, cpu: int) -> None:
        span = self._rings[ring, cpu].get(segment)
        if not span:
            return
        data = b"".join(batched(span) if self._trace.user_stacks else (record.data for record in span))
        times = [record.event.time_ns for record in span]
        last_ns = self._cuts[segment][cpu] if segment < len(self._cuts) else self._trace.ended_ns
        tail = self._heads[ring, cpu]
        self._heads[ring, cpu] += len(data)
        counted = self._counters(segment)[cpu].values()
        block = Block(
            ring,
            cpu,
            begin_ns=self._cuts[segment - 1][cpu] if segment else min(self._trace.began_ns, *times),
            end_ns=max(last_ns, *times),
            ring_tail=tail,
            ring_head=self._heads[ring, cpu],
            attempted=sum(attempted for attempted, _, _ in counted),
            lost=sum(failed for _, _, failed in counted),
        )
        writer.write(block, data)

    def _counters(self, segment: int) -> dict[int, dict[int, list[int]]]:
        """Return what the kernel side has counted by the end of a segment: attempted, stored, failed, by CPU and kind.

        What found no room is counted at once; the record that says so comes with the next that does. What was lost
        counts as switches here.
        """
        counters = {cpu: {kind: [0, 0, 0] for kind in KIND_IDS.values()} for cpu in range(self._trace.cpus)}
        for (_, cpu), spans in self._rings.items():
            before = [record.event for number, span in spans.items() if number <= segment for record in span]
            after = [span[0].event for number, span in spans.items() if number > segment][:1]
            for event in before:
                if type(event) in COUNTED_AS:
                    row = counters[cpu][KIND_IDS[COUNTED_AS[type(event)]]]
                    row[0] += 1
                    row[1] += 1
            for event in before + after:
                if isinstance(event, Lost):
                    row = counters[cpu][KIND_IDS["sched_switch"]]
                    row[0] += event.count
                    row[2] += event.count
        return counters
