"""Task states: the kernel's bits, and the letters that /proc, ps and `--state` show.

Sources: include/linux/sched.h and get_task_state in fs/proc/array.c. States are bits: a thread can be in several.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["LETTERS", "bits_of", "letters_of"]

_BITS = {"S": 0x1, "D": 0x2, "T": 0x4, "t": 0x8, "P": 0x40, "I": 0x402}
_IDLE = _BITS["I"]

LETTERS = "SDTtPIR"
"""Every letter that a wait can have; R is a thread that would run if it had a CPU."""


def bits_of(letter: str) -> int:
    """Return the bits behind a letter of /proc/PID/stat, 0 for a thread that runs or that ends."""
    return _BITS.get(letter, 0)


def letters_of(states: NDArray[np.uint32]) -> NDArray[np.str_]:
    """Return the letter of each state (uint32, N): of several bits the highest speaks, as in /proc."""
    letters = np.full(len(states), "R")
    for letter in "SDTtP":
        letters[states & _BITS[letter] > 0] = letter
    letters[states & _IDLE == _IDLE] = "I"
    return letters
