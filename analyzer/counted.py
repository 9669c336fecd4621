"""Numbers that were added up in the kernel, by key: what was added in each second of a selected time."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.gathered import are_selected
from offwake.analyzer.scope import Scope

__all__ = ["Counted", "counted", "counted_layouts", "rows_of"]


@dataclass(frozen=True)
class Counted:
    """Rows of a map (structured, N), the end of the second in which each was added (int64, N), and the place in the thread
    table of its process's first thread, below 0 for none (int32, N)."""

    rows: NDArray[Any]
    time_ns: NDArray[np.int64]
    thread: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)


def counted_layouts(keyframe: dict[str, Any]) -> dict[str, np.dtype[Any]]:
    """Return the numpy types of the rows of each map, by its name."""
    found = {}
    for one in keyframe["counted"]:
        names, formats, offsets = zip(*one["fields"], strict=True)
        layout = {"names": names, "formats": formats, "offsets": offsets, "itemsize": one["size"]}
        found[one["name"]] = np.dtype(layout)  # type: ignore[call-overload]
    return found


def rows_of(octets: bytes, layout: np.dtype[Any]) -> NDArray[Any]:
    """Return the rows that a TICK has of a map; what is left over is no row."""
    return np.frombuffer(octets[: len(octets) - len(octets) % layout.itemsize], layout)


def counted(scope: Scope, name: str) -> Counted:
    """Return what was added to a map by selected processes in the selected time. A row's process is its field `tgid`.

    A second counts as a whole, by its end; what a thread did is not told apart from what others of its process did.
    """
    replay = scope.replay
    for _ in replay:  # so that every process is known
        pass
    layout = counted_layouts(scope.recording.keyframe).get(name, np.dtype([("tgid", "<u4")]))
    parts = [(time_ns, rows_of(octets, layout)) for time_ns, octets in replay.counted.get(name, ())]
    rows = np.concatenate([np.empty(0, layout), *(part for _, part in parts)])
    time_ns = np.repeat(np.array([time for time, _ in parts], np.int64), [len(part) for _, part in parts])
    process = replay.timeline.places(rows["tgid"], time_ns)
    chosen = are_selected(process, scope.but(tid=None)) & scope.within(np.minimum(time_ns, scope.recording.ended_ns))
    return Counted(rows[chosen], time_ns[chosen], process[chosen])
