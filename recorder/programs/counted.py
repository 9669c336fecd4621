"""Numbers that programs add up in maps: read once a second, and what was added since goes into the file.

So a part of a recording holds what happened in it, and what is left of one that was killed is right as far as it goes.
"""

import struct
from dataclasses import dataclass, field

from offwake.recorder.kernel.bpf_module import U64, Map
from offwake.recorder.sources import Counting

__all__ = ["CountedMap"]


@dataclass
class CountedMap:
    """The map of a Counting, and what was in it when it was read last. `total` is the sum of the first of its sums."""

    counting: Counting
    numbers: Map
    missed: Map
    total: int = 0
    _before: dict[bytes, bytes] = field(default_factory=dict)

    def take(self) -> bytes:
        """Return a row (key, sums, most) for each key whose numbers have grown since the last call, by how much."""
        sums = struct.Struct(f"<{len(self.counting.sums)}Q")
        rows = []
        for key, value in self.numbers.items():
            before = self._before.get(key)
            if value != before:
                self._before[key] = value
                now, then = sums.unpack_from(value), sums.unpack_from(before) if before else (0,) * len(self.counting.sums)
                added = [new - old for new, old in zip(now, then, strict=True)]
                self.total += added[0]
                rows.append(key + sums.pack(*added) + value[sums.size :])
        return b"".join(rows)

    def missed_count(self) -> int:
        """Count what could not be added up, because there was no room for one more key."""
        return int(U64.unpack(self.missed.get(0))[0])
