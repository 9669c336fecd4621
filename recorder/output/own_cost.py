"""What recording itself cost: CPU, memory, and what was written to which device.

An operator asks that first; and whoever reads the block I/O of a recording must know which of it is the recorder's own.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offwake.recorder.host.snapshot import lines_of

__all__ = ["Device", "OwnCost", "device_of", "peak_memory_bytes"]


@dataclass(frozen=True)
class Device:
    """Where an open file lies: "major:minor", and the block device's name, or the file system's type where it has none."""

    number: str
    name: str


@dataclass(frozen=True)
class OwnCost:
    """What a recorder took: CPU time and bytes written while it captured, the largest memory it had at any time."""

    cpu_s: float
    bytes_written: int
    device: Device
    peak_memory_bytes: int

    def as_values(self) -> dict[str, Any]:
        """Return it as a FOOTER holds it."""
        return {
            "own_cpu_ns": int(self.cpu_s * 1e9),
            "own_bytes": self.bytes_written,
            "own_device": {"number": self.device.number, "name": self.device.name},
            "peak_memory_bytes": self.peak_memory_bytes,
        }


def device_of(fd: int) -> Device:
    """Return the device that an open file lies on; of a pipe or a socket "pipe"."""
    status = os.fstat(fd)
    number = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    known = Path(f"/sys/dev/block/{number}")
    if known.exists():
        return Device(number, known.resolve().name)
    for line in lines_of("/proc/self/mountinfo"):
        mount, _, system = line.partition(" - ")
        if mount.split()[2] == number:  # no block device of its own: tmpfs, a network, btrfs
            kind, source, *_ = system.split()
            return Device(number, source.removeprefix("/dev/") if source.startswith("/dev/") else kind)
    return Device(number, "pipe")


def peak_memory_bytes() -> int:
    """Return the most memory that this process has had: VmHWM, as ru_maxrss begins at what the parent had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0
