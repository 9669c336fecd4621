"""Heat maps: raw latencies, binned when they are shown and never before."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.columns import Columns
from offwake.analyzer.latencies import LARGEST, Latencies
from offwake.errors import UsageError

__all__ = ["Heatmap", "latency_map", "offset_map"]

ROWS_PER_DECADE = 8
OFFSET_ROWS = 50
PERIODS_AT_MOST = 3600
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Heatmap:
    """Counts over time and latency, or over periods of time and the offset within each.

    `columns` (int64, C): each column's start in ns since the recording's start, ascending, `column_ns` wide.
    `rows` (int64, R): each row's lower bound in ns, ascending; a row ends where the next begins, the last at `top_ns`.
    `counts` (int64, R × C). `rows_of` is "latency", on a logarithmic scale, or "offset"; `unit` is theirs, "" for numbers
    that are no time. `hidden_ns` was left out; `open` of the latencies are longer than is known.
    """

    of: str
    rows_of: str
    columns: NDArray[np.int64]
    column_ns: int
    rows: NDArray[np.int64]
    top_ns: int
    counts: NDArray[np.int64]
    hidden_ns: int = 0
    open: int = 0
    unit: str = "ns"

    @property
    def total(self) -> int:
        """How many latencies the map holds."""
        return int(self.counts.sum())


def latency_map(found: Latencies) -> Heatmap:
    """Bin latencies at their times, on a logarithmic scale.

    Rows run from the smallest latency to the largest, eight to a decade; what took no time has a row of its own below
    them. Columns are 1, 2 or 5 × 10ⁿ ns wide, at most 240 of them, and begin with the selected time.
    """
    cut = Columns.over(found.begin_ns, found.end_ns)
    columns, column_ns, column = cut.starts_ns, cut.width_ns, cut.of(found.ended_ns)
    decades = len(str(found.latency_ns.max(initial=1)))
    edges = np.round(10 ** np.arange(0, decades + 1 / ROWS_PER_DECADE, 1 / ROWS_PER_DECADE))
    edges = np.unique(np.minimum(edges, LARGEST + 1).astype(np.int64))
    powers = 1 << np.arange(min(int(edges[-1]), LARGEST).bit_length() + 1)
    edges = np.concatenate(([0], edges if found.count is None else powers))
    row = np.searchsorted(edges, found.latency_ns, side="right") - 1
    counts = _counted(row, column, (len(edges), len(columns)), found.count)
    used = np.flatnonzero(counts.any(axis=1))
    if not len(used):
        nothing = edges[:0], 0, counts[:0], found.hidden_ns, found.open, found.unit
        return Heatmap(found.of, "latency", columns, column_ns, *nothing)
    kept = np.arange(used[used > 0].min(initial=len(edges) - 2), used[-1] + 1)
    if used[0] == 0:
        kept = np.concatenate(([0], kept))
    top_ns = int(edges[kept[-1] + 1])
    shown = edges[kept], top_ns, counts[kept], found.hidden_ns, found.open, found.unit
    return Heatmap(found.of, "latency", columns, column_ns, *shown)


def offset_map(found: Latencies, period_ns: int = SECOND) -> Heatmap:
    """Count what ended by the period of time that it ended in (columns) and the offset within it (50 rows).

    What happens every second, or every tenth, lies on one height: Brendan Gregg's subsecond-offset heat map,
    https://www.brendangregg.com/HeatMaps/subsecondoffset.html. Raises UsageError for more than 3,600 periods.
    """
    if period_ns < OFFSET_ROWS:
        raise UsageError(f"--period: a period is at least {OFFSET_ROWS} ns long")
    first = found.begin_ns // period_ns
    last = max(found.end_ns - 1, found.begin_ns, found.ended_ns.max(initial=0)) // period_ns
    if last - first >= PERIODS_AT_MOST:
        raise UsageError(
            f"an offset map shows at most {PERIODS_AT_MOST:,} periods; choose a longer one, or a part with --from and --to"
        )
    columns = np.arange(first, last + 1) * period_ns
    rows = -(-np.arange(OFFSET_ROWS) * period_ns // OFFSET_ROWS)
    period, offset = np.divmod(found.ended_ns, period_ns)
    counts = _counted(offset * OFFSET_ROWS // period_ns, period - first, (OFFSET_ROWS, len(columns)), found.count)
    return Heatmap(found.of, "offset", columns, period_ns, rows, period_ns, counts, found.hidden_ns, found.open)


def _counted(
    row: NDArray[np.int64], column: NDArray[np.int64], shape: tuple[int, int], weights: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    counts = np.bincount(row * shape[1] + column, weights, minlength=shape[0] * shape[1])
    return counts.reshape(shape).astype(np.int64)
