"""Columns: a time cut into equal parts, and what happened in each of them. Heat maps and the overview share them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Columns"]

AT_MOST = 240


@dataclass(frozen=True)
class Columns:
    """So many parts of a time, from `begin_ns` on, each `width_ns` long; the last may end after the time does."""

    begin_ns: int
    width_ns: int
    count: int

    @staticmethod
    def over(begin_ns: int, end_ns: int) -> "Columns":
        """Cut a time into at most 240 columns that are 1, 2 or 5 × 10ⁿ ns wide."""
        width_ns = _width(end_ns - begin_ns)
        return Columns(begin_ns, width_ns, max(-(-(end_ns - begin_ns) // width_ns), 1))

    @property
    def starts_ns(self) -> NDArray[np.int64]:
        """Each column's start (int64, C)."""
        return self.begin_ns + np.arange(self.count, dtype=np.int64) * self.width_ns

    def of(self, moments_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the column of each moment (int64, N); what lies outside counts as the first or the last."""
        return np.clip((moments_ns - self.begin_ns) // self.width_ns, 0, self.count - 1)

    def spread(self, begin_ns: NDArray[np.int64], end_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how much of N intervals lies in each column (int64, C, ns); the intervals lie within the columns.

        What an interval has of its first and last column is added there, and one is added from the second on: their running
        sum is how many intervals fill each column.
        """
        edge_ns, filled = np.zeros(self.count, np.int64), np.zeros(self.count + 1, np.int64)
        first, last = self.of(begin_ns), self.of(end_ns)
        np.add.at(edge_ns, first, self.begin_ns + (first + 1) * self.width_ns - begin_ns)
        np.add.at(edge_ns, last, end_ns - self.begin_ns - (last + 1) * self.width_ns)
        np.add.at(filled, first + 1, 1)
        np.add.at(filled, last + 1, -1)
        return np.asarray(edge_ns + self.width_ns * np.cumsum(filled[:-1]))


def _width(duration_ns: int) -> int:
    """Return the smallest 1, 2 or 5 × 10ⁿ ns that cuts the duration into at most 240 columns."""
    width = 1
    while True:
        for step in (1, 2, 5):
            if duration_ns <= width * step * AT_MOST:
                return width * step
        width *= 10
