"""Sums by key: what a view keeps while it goes through a recording."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.profile import Weight

__all__ = ["Weights"]


@dataclass
class Weights:
    """Nanoseconds and counts by tuples of ids. Memory follows the distinct keys."""

    by_key: dict[tuple[int, ...], Weight] = field(default_factory=dict)

    def add(self, keys: list[NDArray[np.int32]], value_ns: NDArray[np.int64]) -> None:
        """Add rows: `keys` are columns of ids, each of length N, `value_ns` their weights (int64, N)."""
        if not len(value_ns):
            return
        table = np.stack([key.astype(np.int64) for key in keys])
        order = np.lexsort(table[::-1])
        table, values = table[:, order], value_ns[order]
        first = np.flatnonzero(np.concatenate(([True], (table[:, 1:] != table[:, :-1]).any(axis=0))))
        sums = np.add.reduceat(values, first).tolist()
        counts = np.diff(np.append(first, len(values))).tolist()
        for key, value, count in zip(map(tuple, table[:, first].T.tolist()), sums, counts, strict=True):
            weight = self.by_key.setdefault(key, Weight())
            weight.value_ns += value
            weight.count += count
