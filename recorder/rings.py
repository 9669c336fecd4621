"""The rings of all CPUs, and the perf events that write into them."""

import os
from contextlib import ExitStack
from dataclasses import dataclass

from offwake.recorder.perf_event import EventSpec, Opened, lost_records, open_event, redirect
from offwake.recorder.program import Program
from offwake.recorder.ring import PAGE, Ring, ring_pages
from offwake.recorder.snapshot import online_cpus
from offwake.recorder.sources import Source

__all__ = ["CpuRings", "Rings"]

SIDEBAND_PAGES = 64
LESSON_PAGES = 16
OUTPUTS = {
    "with_stack": EventSpec.with_stack(),
    "without_stack": EventSpec.without_stack(),
    "kernel_stack": EventSpec.kernel_stack(),
}
"""Of prelude.bpf.c, what the programs write to: one ring, which keeps the order."""


@dataclass(frozen=True)
class CpuRings:
    """The rings of a CPU. The side-band has its own: a flood of events must not drop what makes addresses readable.

    `lessons` is for kernel_frames.py alone; what finds no room there is no loss.
    """

    cpu: int
    samples: Ring
    sideband: Ring
    lessons: Ring | None


class Rings:
    """Opens and owns the rings of every CPU, until `stack` is closed. `events` are all that write into them."""

    def __init__(self, program: Program, sources: list[Source], buffer_bytes: int, stack: ExitStack) -> None:
        self._program, self._sources, self._stack = program, sources, stack
        cpus = online_cpus()
        self._pages = ring_pages(buffer_bytes, len(cpus))
        self._watermark = min(max(self._pages * PAGE // 8, 128 << 10), 512 << 10)
        self.events: list[Opened] = []
        self.cpus = [self._open_cpu(cpu) for cpu in cpus]

    def descriptors(self) -> list[int]:
        """Return what to poll: a ring's descriptor is readable when much lies in it."""
        return [ring.event.fd for cpu in self.cpus for ring in (cpu.samples, cpu.sideband)]

    def lost(self) -> int:
        """Count the records that found no room, but for those of BPF programs, which count them themselves."""
        outputs = [spec.name for spec in OUTPUTS.values()]
        return sum(lost_records(event) for event in self.events if event.spec.name not in outputs)

    def _open_cpu(self, cpu: int) -> CpuRings:
        outputs = {name: self._open(spec, cpu, self._watermark) for name, spec in OUTPUTS.items()}
        first, *others = outputs.values()
        ring = self._stack.enter_context(Ring(first, self._pages))
        for event in others:
            redirect(event, first)
        self._program.send_to(cpu, {name: event.fd for name, event in outputs.items()})
        for source in self._sources:
            if source.sampling:
                spec = EventSpec.sampling(source.name, source.sampling.software_event, source.sampling.hertz)
                clock = self._open(spec, cpu, self._watermark)
                redirect(clock, first)
                self._program.sample_with(source, clock.fd)
        sideband = Ring(self._open(EventSpec.sideband(), cpu, 1), SIDEBAND_PAGES)
        self._stack.enter_context(sideband)
        return CpuRings(cpu, ring, sideband, self._open_lessons(cpu) if self._program.user_stack_bytes else None)

    def _open_lessons(self, cpu: int) -> Ring:
        event = open_event(EventSpec.lessons(), cpu, LESSON_PAGES * PAGE)
        self._stack.callback(os.close, event.fd)
        self._program.send_to(cpu, {"lessons": event.fd})
        return self._stack.enter_context(Ring(event, LESSON_PAGES))

    def _open(self, spec: EventSpec, cpu: int, watermark: int) -> Opened:
        event = open_event(spec, cpu, watermark)
        self._stack.callback(os.close, event.fd)
        self.events.append(event)
        return event
