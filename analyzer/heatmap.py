"""Heat maps: raw latencies, binned when they are shown and never before."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Heatmap", "latency_heatmap"]

COLUMNS_AT_MOST = 240
ROWS_PER_DECADE = 8


@dataclass(frozen=True)
class Heatmap:
    """Counts over time and latency.

    `columns` (int64, C): each column's start in ns since the recording's start, ascending, `column_ns` wide.
    `rows` (int64, R): each row's lower latency bound in ns, ascending; a row ends where the next begins.
    `counts` (int64, R × C).
    """

    of: str
    unit: str
    columns: NDArray[np.int64]
    column_ns: int
    rows: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def total(self) -> int:
        """How many latencies the map holds."""
        return int(self.counts.sum())


def latency_heatmap(of: str, when_ns: NDArray[np.int64], latency_ns: NDArray[np.int64], duration_ns: int) -> Heatmap:
    """Bin latencies (ns, int64, N) at their times (ns since the recording's start, int64, N) on a logarithmic scale.

    Rows run from the decade of the smallest latency to that of the largest, eight to a decade; columns are whole
    multiples of 1, 2 or 5 × 10ⁿ ns, at most 240 of them.
    """
    column_ns = _column_width(duration_ns)
    columns = np.arange(0, max(duration_ns, 1), column_ns, dtype=np.int64)
    if not len(latency_ns):
        return Heatmap(of, "ns", columns, column_ns, np.empty(0, np.int64), np.empty((0, len(columns)), np.int64))
    latencies = np.maximum(latency_ns, 1)
    low, high = np.floor(np.log10(latencies.min())), np.floor(np.log10(latencies.max())) + 1
    edges = np.unique(np.round(10 ** np.arange(low, high, 1 / ROWS_PER_DECADE)).astype(np.int64))
    row = np.searchsorted(edges, latencies, side="right") - 1
    column = np.clip(when_ns // column_ns, 0, len(columns) - 1)
    counts = np.zeros((len(edges), len(columns)), np.int64)
    np.add.at(counts, (row, column), 1)
    used = np.flatnonzero(counts.any(axis=1))
    kept = slice(used[0], used[-1] + 1)
    return Heatmap(of, "ns", columns, column_ns, edges[kept], counts[kept])


def _column_width(duration_ns: int) -> int:
    """Return the smallest 1, 2 or 5 × 10ⁿ ns that cuts the duration into at most 240 columns."""
    width = 1
    while True:
        for step in (1, 2, 5):
            if duration_ns <= width * step * COLUMNS_AT_MOST:
                return width * step
        width *= 10
