"""The rings of all CPUs, and the perf events that write into them.

A perf event is dead once its CPU has been offline, although its ring is not: when the CPU returns, new events are opened
and write into the same ring. What happened on the CPU meanwhile is a gap, which the recording tells of.
"""

import os
import select
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from offwake.errors import CannotRecord
from offwake.recorder.host.snapshot import online_cpus
from offwake.recorder.kernel.perf_event import Counts, EventSpec, Opened, disable, open_event, read_counts, redirect
from offwake.recorder.kernel.ring import PAGE, Ring, ring_pages
from offwake.recorder.programs.program import Program
from offwake.recorder.sources import Source

__all__ = ["CpuGap", "CpuRings", "Rings", "event_specs"]

SIDEBAND, SIDEBAND_PAGES = EventSpec.sideband().name, 64
LESSON_PAGES = 16
OUTPUTS = {
    "with_stack": EventSpec.with_stack(),
    "without_stack": EventSpec.without_stack(),
    "kernel_stack": EventSpec.kernel_stack(),
}
"""Of prelude.bpf.c, what the programs write to: one ring, which keeps the order."""


def event_specs(sources: Sequence[Source]) -> list[EventSpec]:
    """Return what is opened on each CPU, in the order of CpuRings.events; lessons come besides."""
    clocks = [
        EventSpec.sampling(source.name, source.sampling.software_event, source.sampling.hertz)
        for source in sources
        if source.sampling
    ]
    traced = [
        EventSpec.traced(one.name, one.id, one.with_stack, one.filter) for source in sources for one in source.traced
    ]
    return [*OUTPUTS.values(), *clocks, *traced, EventSpec.sideband()]


@dataclass(frozen=True)
class CpuGap:
    """Some time in which a CPU went "offline", came "online", or both ("away"): what happened there may be missing."""

    cpu: int
    begin_ns: int
    end_ns: int
    what: str


@dataclass
class CpuRings:
    """The rings of a CPU, and the events that write into them: the outputs, the sampling clocks, the side-band.

    The side-band has its own ring: a flood of events must not drop what makes addresses readable. `counts` are what its
    event had counted when it was looked at last; `alive`, whether it still was. `lessons` is for kernel_frames.py alone:
    what finds no room there is no loss.
    """

    cpu: int
    samples: Ring
    sideband: Ring
    events: list[Opened]
    lessons: Ring | None = None
    alive: bool = True
    counts: Counts = Counts(0)

    def has_died(self) -> bool:
        """Tell whether the events have died since the last call."""
        before, self.counts = self.counts, read_counts(self.sideband.event)
        was_alive, self.alive = self.alive, self.alive and self.counts.enabled_ns > before.enabled_ns
        return was_alive and not self.alive


class Rings:
    """Opens and owns the rings of every CPU, until `stack` is closed.

    `events` are all that ever wrote into them; `poller` hears when much lies in one. `open_event` is how they are opened.
    """

    def __init__(self, program: Program, sources: list[Source], buffer_bytes: int, stack: ExitStack) -> None:
        self._program, self._stack = program, stack
        cpus = online_cpus()
        self._pages = ring_pages(buffer_bytes, len(cpus))
        self._watermark = min(max(self._pages * PAGE // 4, 128 << 10), 1 << 20)
        self._specs = event_specs(sources)
        self._clocks = [source.name for source in sources if source.sampling]
        self.open_event = open_event
        self._lost: dict[str, int] = {}  # of events that are closed, by name
        self.poller = select.poll()
        self.events: list[Opened] = []
        self.cpus: list[CpuRings] = []
        self.changes = 0
        self._is_disabled = self._is_over = False
        for cpu in cpus:
            self._open_cpu(cpu)

    def follow(self, since_ns: int, now_ns: int) -> list[CpuGap]:
        """Give rings to CPUs that came online since the last call, at `since_ns`; returns where events may be missing.

        What the dead events had written is still in the ring. A CPU that can be given none is tried again the next time.
        `changes` counts the CPUs that went, or were given rings.
        """
        if self._is_over:
            return []
        online, gaps = set(online_cpus()), []
        self._is_over = self._is_disabled
        for rings in self.cpus:
            died, is_online = rings.has_died(), rings.cpu in online
            self.changes += died
            if died or (is_online and not rings.alive):
                what = "online" if not died else "away" if is_online else "offline"
                gaps.append(CpuGap(rings.cpu, since_ns, now_ns, what))
            if is_online and not rings.alive and not self._is_disabled:
                with suppress(CannotRecord):  # it is offline again
                    self._reopen(rings)
                    self.changes += 1
        for cpu in sorted(online - {rings.cpu for rings in self.cpus}):
            gaps.append(CpuGap(cpu, since_ns, now_ns, "online"))
            if self._is_disabled:
                continue
            with suppress(CannotRecord):
                self._open_cpu(cpu)
                self.changes += 1
        return gaps

    def disable(self) -> None:
        """Have nothing more written into the rings, but by programs that are attached: samples run theirs no longer. CPUs
        are followed once more, up to now."""
        self._is_disabled = True
        for cpu in self.cpus:
            for event in cpu.events[len(OUTPUTS) :]:
                with suppress(OSError):  # its CPU is gone
                    disable(event)

    def unmap(self) -> None:
        """Give the rings' memory back: what was in them has been taken, and names take memory too."""
        for cpu in self.cpus:
            for ring in (cpu.samples, cpu.sideband, *([cpu.lessons] if cpu.lessons else [])):
                ring.close()

    def as_values(self) -> dict[str, Any]:
        """Return what writes into the rings, as a keyframe holds it."""
        return {
            "cpus": [rings.cpu for rings in self.cpus],
            "events": [
                {"id": event.id, "cpu": event.cpu, "name": event.spec.name, "sample_type": event.spec.sample_type}
                for event in self.events
            ],
        }

    def lost(self) -> int:
        """Count the records that found no room, but for those of BPF programs, which count them themselves."""
        outputs = [spec.name for spec in OUTPUTS.values()]
        events = (event for rings in self.cpus for event in rings.events if event.spec.name not in outputs)
        before = sum(lost for name, lost in self._lost.items() if name not in outputs)
        return before + sum(read_counts(event).lost for event in events)

    def stored(self, name: str) -> int:
        """Count the records that an event of this name has written, of those that are open."""
        found = [read_counts(event) for rings in self.cpus for event in rings.events if event.spec.name == name]
        return sum(counts.happened - counts.lost for counts in found)

    def sideband_lost(self) -> int:
        """Count the side-band records that had found no room when CPUs were followed last: each is asked once a second."""
        return self._lost.get(SIDEBAND, 0) + sum(rings.counts.lost for rings in self.cpus)

    def _open_cpu(self, cpu: int) -> None:
        """Open a CPU's events, and rings for them. Raises CannotRecord."""
        with ExitStack() as undo:
            first, *others, sideband = events = self._open_events(cpu)
            undo.callback(self._close, events)
            samples = undo.enter_context(Ring(first, self._pages))
            rings = CpuRings(cpu, samples, undo.enter_context(Ring(sideband, SIDEBAND_PAGES)), events)
            if self._program.user_stack_bytes:
                event = self.open_event(EventSpec.lessons(), cpu, LESSON_PAGES * PAGE)
                undo.callback(os.close, event.fd)
                rings.lessons = undo.enter_context(Ring(event, LESSON_PAGES))
            self._connect(rings)
            undo.pop_all()
        self._stack.callback(self._close_cpu, rings)
        self.cpus.append(rings)

    def _reopen(self, rings: CpuRings) -> None:
        """Open a CPU's events anew, for the rings that it has. Raises CannotRecord."""
        if rings.lessons:
            event = self.open_event(EventSpec.lessons(), rings.cpu, LESSON_PAGES * PAGE)
            redirect(event, rings.lessons.event)
            os.close(rings.lessons.event.fd)
            rings.lessons.event = event
        dead, rings.events = rings.events, self._open_events(rings.cpu)
        for ring, event in ((rings.samples, rings.events[0]), (rings.sideband, rings.events[-1])):
            redirect(event, ring.event)
            self.poller.unregister(ring.event.fd)
            ring.event = event
        self._connect(rings)
        self._close(dead)
        rings.alive, rings.counts = True, Counts(0)

    def _open_events(self, cpu: int) -> list[Opened]:
        """Open all events of a CPU, in the order of CpuRings.events. Raises CannotRecord, with none of them open."""
        events: list[Opened] = []
        try:
            for spec in self._specs:
                events.append(self.open_event(spec, cpu, self._watermark if spec is not self._specs[-1] else 1))
        except CannotRecord:
            self._close(events)
            raise
        return events

    def _connect(self, rings: CpuRings) -> None:
        """Let everything but the side-band write into one ring, the programs included, and hear of both rings."""
        first, *others, sideband = rings.events
        for event in others:
            redirect(event, first)
        outputs = dict(zip(OUTPUTS, rings.events, strict=False))
        for source, clock in zip(self._clocks, rings.events[len(OUTPUTS) :], strict=False):
            self._program.sample_with(source, clock.fd)
        if rings.lessons:
            outputs["lessons"] = rings.lessons.event
        self._program.send_to(rings.cpu, {name: event.fd for name, event in outputs.items()})
        for event in (first, sideband):
            self.poller.register(event.fd, select.POLLIN)
        self.events += rings.events

    def _close_cpu(self, rings: CpuRings) -> None:
        for ring in (rings.samples, rings.sideband):
            self.poller.unregister(ring.event.fd)
            ring.close()
        if rings.lessons:
            rings.lessons.close()
            os.close(rings.lessons.event.fd)
        self._close(rings.events)

    def _close(self, events: list[Opened]) -> None:
        for event in events:
            self._lost[event.spec.name] = self._lost.get(event.spec.name, 0) + read_counts(event).lost
            os.close(event.fd)
