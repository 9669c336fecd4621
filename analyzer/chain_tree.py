"""The walk along chains: compiled, and adding to a tree of hops as it goes.

A node is its parent and either a hop (who ended the wait), or what the last waker did. The walk is bounded, and what
lies behind a bound is marked, never left out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled
from offwake.analyzer.groups import Groups, number
from offwake.analyzer.lives import (
    DOING_BLOCKED,
    DOING_PREEMPTED,
    DOING_RUNNING,
    DOING_UNKNOWN,
    DOING_WAITING,
    NO_HOP,
    Lives,
)

__all__ = ["ENDS", "ROOT", "WAIT", "Bounds", "ChainTree"]

HOPS_AT_MOST = 64

ROOT = -1
TRUNCATED = 5
ENDS = {
    DOING_RUNNING: "[on CPU]",
    DOING_WAITING: "[run queue]",
    DOING_PREEMPTED: "[preempted]",
    DOING_UNKNOWN: "[unknown]",
    TRUNCATED: "[truncated]",
}
"""Last frames; as a node's second part it is −1 less the number."""

WAIT = np.dtype(
    [
        ("begin_ns", "i8"), ("end_ns", "i8"), ("value_ns", "i8"), ("root", "i4"), ("hop", "i4"), ("waker", "i4"),
        ("open", "?"),
    ],
    align=True,
)  # fmt: skip
"""A wait to be explained: its window (uncut for a path), what it weighs, its root, who ended it, whether it is open."""

STEP = np.dtype(
    [("piece", "i8"), ("begin_ns", "i8"), ("end_ns", "i8"), ("thread", "i4"), ("node", "i4"), ("depth", "i4")],
    align=True,
)
"""Where the walk stands in one thread's life: what is left of the window, and the node that it hangs below."""


@dataclass(frozen=True)
class Bounds:
    """How many pieces of lives one wait's explanation may look at, and how many nodes there may be: about a kilobyte
    each, once they are named. When there are more, waits are followed to their waker and no further."""

    steps: int = 1 << 20
    nodes: int = 1 << 20


BOUNDS = Bounds()


class ChainTree:
    """Chains as a tree: `nodes` are (parent, what), `sums` nanoseconds, waits and nanoseconds of open waits by node."""

    def __init__(self, lives: Lives, is_thread: NDArray[np.bool_], by_path: bool, bounds: Bounds = BOUNDS) -> None:
        self.nodes = Groups(2)
        self.sums = np.zeros((len(self.nodes.table[0]), 3), np.int64)
        self._last = np.full(len(self.sums), -1, np.int64)  # the last wait that a node was counted for
        self._lives = (lives.first, lives.begin_ns, lives.end_ns, lives.doing, lives.hop, lives.waker)
        self._births = (lives.birth, lives.parent)
        self._is_thread, self._how = is_thread, (by_path, bounds.steps, bounds.nodes)
        self._explained = 0

    def explain(self, waits: NDArray[np.void]) -> None:
        """Add waits (WAIT) to the tree."""
        steps = np.empty(HOPS_AT_MOST + 2, STEP)
        row = np.empty(2, np.int32)
        state = np.array([0, -1, 0, len(self.nodes)], np.int64)
        while True:
            tree = (*self.nodes.table, self.sums, self._last, row)
            _walk(waits, self._explained, self._lives, self._births, self._is_thread, self._how, (state, steps), tree)
            if state[0] == len(waits):
                break
            self.nodes.grow(int(state[3]))
            more = len(self.nodes.table[0]) - len(self.sums)
            self.sums = np.concatenate((self.sums, np.zeros((more, 3), np.int64)))
            self._last = np.concatenate((self._last, np.full(more, -1, np.int64)))
        self.nodes.added(int(state[3]))
        self._explained += len(waits)


Tree = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]
Numbers = NDArray[np.int64]
Ids = NDArray[np.int32]
LifeColumns = tuple[Numbers, Numbers, Numbers, Ids, Ids, Ids]
"""Of Lives: first, begin_ns, end_ns, doing, hop, waker."""


@compiled
def _child(parent: int, what: int, tree: Tree, state: Numbers) -> int:
    """Return the node below another one for a hop or an end."""
    keys, slots, _, _, row = tree
    row[0], row[1] = parent, what
    node = number(row, keys, slots, state[3])
    if node == state[3]:
        state[3] += 1
    return node


@compiled
def _weigh(node: int, value_ns: int, wait: Any, serial: int, tree: Tree) -> None:
    sums, last = tree[2], tree[3]
    sums[node, 0] += value_ns
    if wait.open:
        sums[node, 2] += value_ns
    if last[node] != serial:
        sums[node, 1] += 1
        last[node] = serial


@compiled
def _begin(step: Any, thread: int, begin_ns: int, end_ns: int, lives: LifeColumns) -> None:
    """Stand at the last piece of a thread's life that began before a window's end; before the first one if none did."""
    first, begins, ends = lives[0], lives[1], lives[2]
    low, high = first[thread], first[thread + 1]
    last = high - 1
    while low < high:
        middle = (low + high) // 2
        if ends[middle] < end_ns:
            low = middle + 1
        else:
            high = middle
    step.piece = min(low, last) if begins[thread] < end_ns else first[thread] - 1
    step.thread, step.begin_ns, step.end_ns = thread, begin_ns, end_ns


@compiled
def _walk(
    waits: NDArray[np.void],
    number_of_first: int,
    lives: LifeColumns,
    births: tuple[Ids, Ids],
    is_thread: NDArray[np.bool_],
    how: tuple[bool, int, int],
    progress: tuple[Numbers, NDArray[np.void]],
    tree: Tree,
) -> None:
    """Explain waits until all are done or the tree is full; what is half done stands in `progress`.

    That is: the wait, the depth of the stack of steps (−1: the wait is not begun), the steps taken, the nodes there are.
    """
    first, begins, ends, doings, hops, wakers = lives
    birth, parent = births
    state, steps = progress
    by_path, steps_at_most, nodes_at_most = how
    while state[0] < len(waits) and state[3] + 3 <= len(tree[0]):
        wait, serial = waits[state[0]], number_of_first + state[0]
        if state[1] < 0:
            node = _child(_child(ROOT, wait.root, tree, state), wait.hop, tree, state)
            if is_thread[wait.hop]:
                steps[0].node, steps[0].depth = node, 1
                _begin(steps[0], wait.waker, wait.begin_ns, wait.end_ns, lives)
                state[1], state[2] = 0, 0
            else:
                _weigh(node, wait.value_ns, wait, serial, tree)
                state[0] += 1
            continue
        step = steps[state[1]]
        state[2] += 1
        left_ns = wait.value_ns if by_path else step.end_ns - step.begin_ns
        hop, waker, doing = NO_HOP, NO_HOP, DOING_UNKNOWN
        begin_ns, end_ns, piece = step.begin_ns, step.end_ns, step.piece
        if begin_ns >= end_ns:  # the window is through
            if by_path:
                _weigh(step.node, left_ns, wait, serial, tree)
            state[1] -= 1
        elif state[2] > steps_at_most or state[3] > nodes_at_most:
            _weigh(_child(step.node, -1 - TRUNCATED, tree, state), left_ns, wait, serial, tree)
            state[1] -= 1
        else:
            if piece < first[step.thread]:  # before its life
                hop, waker = birth[step.thread], parent[step.thread]
                if hop != NO_HOP:
                    doing = DOING_BLOCKED
            elif ends[piece] < end_ns:  # after it, as far as anyone knows
                begin_ns = max(begin_ns, ends[piece])
            else:
                start_ns = begins[step.thread] if piece == first[step.thread] else ends[piece - 1]
                begin_ns = max(begin_ns, start_ns)
                doing, hop, waker = doings[piece], hops[piece], wakers[piece]
                step.piece -= 1
            step.end_ns = begin_ns
            if doing == DOING_BLOCKED and step.depth < HOPS_AT_MOST:
                node = _child(step.node, hop, tree, state)
                if not is_thread[hop]:
                    _weigh(node, left_ns if by_path else end_ns - begin_ns, wait, serial, tree)
                    state[1] -= by_path
                else:
                    depth = step.depth + 1
                    state[1] += not by_path
                    steps[state[1]].node, steps[state[1]].depth = node, depth
                    _begin(steps[state[1]], waker, begin_ns, end_ns, lives)
            elif not by_path or doing in (DOING_BLOCKED, DOING_UNKNOWN):
                end = TRUNCATED if doing == DOING_BLOCKED else doing
                value_ns = left_ns if by_path else end_ns - begin_ns
                _weigh(_child(step.node, -1 - end, tree, state), value_ns, wait, serial, tree)
                state[1] -= by_path
        if state[1] < 0:
            state[0] += 1
