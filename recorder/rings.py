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
OUTPUTS = {
    "with_stack": EventSpec.with_stack(),
    "without_stack": EventSpec.without_stack(),
    "kernel_stack": EventSpec.kernel_stack(),
}
"""Of prelude.bpf.c, what the programs write to: one ring, which keeps the order."""


@dataclass(frozen=True)
class CpuRings:
    """The two rings of a CPU. The side-band has its own: a flood of events must not drop what makes addresses readable."""

    cpu: int
    samples: Ring
    sideband: Ring


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
        sideband = self._open(EventSpec.sideband(), cpu, 1)
        return CpuRings(cpu, ring, self._stack.enter_context(Ring(sideband, SIDEBAND_PAGES)))

    def _open(self, spec: EventSpec, cpu: int, watermark: int) -> Opened:
        event = open_event(spec, cpu, watermark)
        self._stack.callback(os.close, event.fd)
        self.events.append(event)
        return event
