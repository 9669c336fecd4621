"""What came last before a moment, for the same key: how events are joined that name the same socket or packet."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NONE", "latest"]

NONE = -1


def latest(key: NDArray[Any], time_ns: NDArray[np.int64], of: tuple[NDArray[Any], NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return for each of N keys and times the place of the last of M others (their keys and times) that has the same key and
    is not later; −1 where there is none."""
    others, when_ns = of
    count = len(others)
    keys, is_asked = np.concatenate((others, key)), np.arange(count + len(key)) >= count
    order = np.lexsort((is_asked, np.concatenate((when_ns, time_ns)), keys))
    last = np.maximum.accumulate(np.where(is_asked[order], NONE, np.arange(len(order))))
    found = np.where(last == NONE, NONE, order[last])
    found[keys[found] != keys[order]] = NONE
    placed = np.empty(len(order), np.int64)
    placed[order] = found
    return placed[count:]
