"""Who ended a wait, as numbers: views, chains and tables group waits by them, and naming.py says what they are called.

A waker is five numbers: its name, its stack and space, the CPU if an idle task woke there or an interrupt on top of one
(else A_THREAD, which an interrupt may still have interrupted; NO_WAKER for a wait that nothing has ended), and what fired.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["A_THREAD", "NO_WAKER", "WAKER_WIDTH", "Waker", "waker_columns"]

Waker = Sequence[int]

WAKER_WIDTH = 5
A_THREAD, NO_WAKER = -1, -2


def waker_columns(intervals: NDArray[np.void]) -> list[NDArray[np.int32]]:
    """Return the five numbers of who ended each interval (INTERVAL, N), BLOCKED or NEW, as columns (int32, N)."""
    of_idle = np.where(intervals["waker"] < 0, intervals["waker_cpu"], A_THREAD)
    cpu = np.where(intervals["waker_cpu"] < 0, NO_WAKER, of_idle)
    return [intervals["waker_name"], intervals["waker_stack"], intervals["waker_space"], cpu, intervals["fired"]]
