"""The events that wait in the kernel to be sent together, see batch.bpf.c."""

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from offwake.recorder.kernel.bpf_module import Module

__all__ = ["SEND", "Batches"]

SEND = "on_send_batch"
HEAD = struct.Struct("<8xI20x")  # struct batch, before its entries
ENTRY = struct.Struct("<4xIH")  # struct entry: how many bytes follow, and the first of those, the kind of event
ENTRY_HEAD = 8


@dataclass(frozen=True)
class Batches:
    """The batches of all CPUs, of a module that has them."""

    module: Module

    def send(self) -> None:
        """Have everything sent that waits; where nothing does, the CPU is left alone. A batch that finds no room in its
        ring, or whose CPU is offline, waits on."""
        for cpu, batch in enumerate(self._read()):
            if HEAD.unpack_from(batch)[0]:
                self.module.run_on(cpu, SEND)

    def waiting(self) -> Counter[tuple[int, int]]:
        """Count what waits, by CPU and kind of event."""
        found = Counter[tuple[int, int]]()
        for cpu, batch in enumerate(self._read()):
            at = HEAD.size
            end = at + HEAD.unpack_from(batch)[0]
            while at < end:
                size, kind = ENTRY.unpack_from(batch, at)
                found[cpu, kind] += 1
                at += ENTRY_HEAD + size
        return found

    def _read(self) -> Iterator[bytes]:
        return self.module.maps["batches"].by_cpu(0)
