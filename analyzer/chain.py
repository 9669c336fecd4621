"""Chains: what a wait waited for, and what that waited for, to the end.

At any moment of a wait one can ask what the one who ended it was doing. It ran, or waited for a CPU: that explains the
moment. It was blocked itself: then ask who ended that wait, about the same moment. So the explanations of a wait's moments
add up to it to the nanosecond, wherever it is cut. Weighing by path, the whole wait is put on the way back that begins
at its end: the last wait of its waker inside it, the last one of that waker's waker inside that, and so on.

The walk is in chain_tree.py.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.chain_tree import ENDS, ROOT, WAIT, ChainTree
from offwake.analyzer.groups import Groups
from offwake.analyzer.intervals import blocked_ns, is_blocked
from offwake.analyzer.lives import LivesBuilder
from offwake.analyzer.naming import Frames, Naming
from offwake.analyzer.profile import Profile
from offwake.analyzer.replay import Batch
from offwake.analyzer.roots import named_by
from offwake.analyzer.scope import Scope
from offwake.analyzer.shapes import LATEST_NS
from offwake.analyzer.slices import Summed
from offwake.analyzer.views import ViewOptions

__all__ = ["Chain"]


class Chain:
    """Collects waits and lives; the walk follows when the pass is complete."""

    def __init__(self, scope: Scope, options: ViewOptions) -> None:
        self._scope, self._options = scope, options
        self._whole = scope if scope.selection.ended else scope.but(begin_ns=None, end_ns=None)
        self._lives = LivesBuilder(scope.replay)
        self._roots = Groups(3)
        self._waits: list[NDArray[np.void]] = []
        self._hidden_ns = 0
        self._slices = scope.slices
        self._when: list[NDArray[np.int32]] = []

    def feed(self, batch: Batch) -> None:
        """Take a batch's intervals and slices."""
        self._lives.feed(batch)
        begin_ns, end_ns = self._window()
        shown, hidden = self._whole.waits(batch.activity.intervals, is_blocked, blocked_ns)
        self._hidden_ns += int(_within(hidden, begin_ns, end_ns).sum())
        value_ns = _within(shown, begin_ns, end_ns)
        shown = shown[value_ns > 0]
        window = np.clip(shown["begin_ns"], begin_ns, end_ns), np.clip(shown["wake_ns"], begin_ns, end_ns)
        parts = self._slices.pieces(*window)
        shown = shown[parts.row]
        waits = np.empty(len(shown), WAIT)
        waits["begin_ns"], waits["end_ns"] = shown["begin_ns"], shown["wake_ns"]
        waits["value_ns"] = parts.end_ns - parts.begin_ns
        if self._options.chain == "time":
            waits["begin_ns"], waits["end_ns"] = parts.begin_ns, parts.end_ns
        waits["open"] = shown["open"] > 0
        waits["hop"], waits["waker"] = self._lives.hops_of(shown), shown["waker"]
        name = named_by(self._options.by, shown["thread"], shown["name"], self._scope.replay)
        waits["root"] = self._roots.ids([name, shown["stack"], shown["space"]])
        self._waits.append(waits)
        self._when.append(parts.slice)

    def profile(self, naming: Naming) -> Profile:
        """Return the stacks."""
        tree = ChainTree(self._lives.lives(), self._is_thread(naming), self._options.chain == "path")
        over_time = Summed(self._slices)
        waits, when = np.concatenate(self._waits), np.concatenate(self._when)
        order = np.argsort(when, kind="stable")
        waits, ends = waits[order], np.searchsorted(when[order], np.arange(self._slices.count + 1))
        for number, (first, end) in enumerate(pairwise(ends.tolist())):
            before = tree.sums[:, 0].copy()
            tree.explain(waits[first:end])
            more = tree.sums[:, 0].copy()
            more[: len(before)] -= before
            nodes = np.flatnonzero(more)
            over_time.add(nodes.astype(np.int32), np.full(len(nodes), number, np.int32), more[nodes])
        return self._named(tree, over_time, naming)

    def _window(self) -> tuple[int, int]:
        """Return the time that waits are cut to: none where those count that ended in the selected time."""
        return (0, LATEST_NS) if self._scope.selection.ended else (self._scope.begin_ns, self._scope.end_ns)

    def _is_thread(self, naming: Naming) -> NDArray[np.bool_]:
        """Tell of each hop whether a thread ended the wait: no interrupt on top of one, no idle CPU."""
        return np.array([naming.is_thread(hop) for hop in self._lives.hops.keys.tolist()], np.bool_)

    def _named(self, tree: ChainTree, over_time: Summed, naming: Naming) -> Profile:
        roots, hops = self._roots.keys.tolist(), self._lives.hops.keys.tolist()
        found = Profile("chain", hidden_ns=self._hidden_ns)
        frames: list[Frames] = []
        for (parent, what), (value_ns, count, open_ns) in zip(
            tree.nodes.keys.tolist(), tree.sums.tolist(), strict=False
        ):
            if parent == ROOT:
                frames.append(naming.blocked(*roots[what]))
            elif what < 0:
                frames.append((*frames[parent], ENDS[-1 - what]))
            else:
                frames.append((*frames[parent], "--", *naming.waker(hops[what])))
            if value_ns:
                found.add(frames[-1], value_ns, count, open_ns)
        found.over_time = over_time.named(frames)
        return found


def _within(rows: NDArray[np.void], begin_ns: int, end_ns: int) -> NDArray[np.int64]:
    """Return how much of each wait lies in the selected time (ns)."""
    return np.asarray(np.clip(rows["wake_ns"], begin_ns, end_ns) - np.clip(rows["begin_ns"], begin_ns, end_ns))
