"""Layouts: what of a frame tree a picture of some width can show, and where.

A picture is never larger than what can be seen in it: frames too narrow to see, and the narrowest of too many, are
folded into their parent's "other".
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.render.tree import Frame, FrameTree, frame_key

__all__ = ["BOXES_AT_MOST", "OTHER", "Box", "boxes", "rows"]

OTHER = "other"
DEEP, SLIVER = 48, 0.02
"""Rows from which on a picture ends where a row holds less than this share of it."""
WAKER_MARK = "--"
NARROWEST_PX = 0.1
BOXES_AT_MOST = 4000
"""So that a picture stays under 500 KB, whatever the profile: the widest are drawn, the rest is folded into "other"."""

Rows = NDArray[np.int64]


class Box(NamedTuple):
    """A frame as it is drawn: `depth` rows from the root, from `begin_ns` on, `value_ns` wide.

    `begin_ns` counts from the left of the shown frame, whose width is the picture's; its ancestors span it. `waker` is
    set behind a `--`, `hot` where most of the time is on the CPU. `key` and `row`, that in the tree, are 0 for what was
    folded into "other". Callers in a sandwich have depths below 0.
    """

    name: str
    depth: int
    begin_ns: int
    value_ns: int
    key: int
    row: int
    waker: bool
    hot: bool = False
    ancestor: bool = False


def boxes(top: Frame, width_px: float, at_most: int = BOXES_AT_MOST) -> list[Box]:
    """Lay out the ancestors of `top`, then `top` and what it called, parents before children, siblings alphabetically.

    `at_most` so many, besides ancestors: a frame that would be narrower than 0.1 px, or is not among the widest, is folded
    into its parent's "other"; an "other" that is itself too narrow is left blank. So is what stands on more than 48 rows
    where all of a row together is a sliver: a single chain of sixty wakers would make the picture ten times as high as
    all others need. Time of stacks that end in a frame comes first in its row. In a sandwich the callers of the root come
    after all that it called, each half with half of the boxes.
    """
    callers, half = top.tree.callers, at_most // 2
    if callers and not top.index:
        return [*_laid_out(top, width_px, half), *_turned(_laid_out(callers.root, width_px, half)[1:])]
    laid = _laid_out(top, width_px, at_most)
    return _turned(laid) if top.tree.of_callers else laid


def rows(top: Frame, width_px: float) -> int:
    """Return how many rows `top` and what of its callees can be seen take."""
    seen, _ = _widest(top, top.value_ns * NARROWEST_PX / width_px, BOXES_AT_MOST)
    depth = top.tree.depth
    return int(depth[seen].max(initial=depth[top.index]) - depth[top.index]) + 1


def _turned(laid: list[Box]) -> list[Box]:
    return [box._replace(depth=-box.depth) for box in laid]


def _laid_out(top: Frame, width_px: float, at_most: int) -> list[Box]:
    narrowest_ns = top.value_ns * NARROWEST_PX / width_px
    plan = _plan(top, *_widest(top, narrowest_ns, at_most * 9 // 10))
    if len(plan.shown) + len(plan.other_ns) > at_most:  # of "other" there is at most one a frame
        plan = _plan(top, *_widest(top, narrowest_ns, at_most // 2))
    return _boxes(plan)


def _widest(top: Frame, least_ns: float, at_most: int) -> tuple[Rows, float]:
    """Return the rows of frames under `top` of at least `least_ns`, or the widest, shallow first; and the least."""
    tree, rows = top.tree, slice(top.index + 1, top.end)
    depth, value_ns = tree.depth[rows] - tree.depth[top.index], tree.value_ns[rows]
    seen = np.flatnonzero(value_ns >= least_ns)
    row_ns = np.bincount(depth[seen], value_ns[seen], DEEP + 2)
    slivers = np.flatnonzero(row_ns[DEEP + 1 :] < SLIVER * top.value_ns)
    seen = seen[depth[seen] < (DEEP + 1 + slivers[0] if len(slivers) else len(row_ns))]
    if len(seen) > at_most:
        too_many = len(seen) - at_most
        least_ns = float(np.partition(value_ns[seen], too_many - 1)[too_many - 1])
        wider, as_wide = seen[value_ns[seen] > least_ns], seen[value_ns[seen] == least_ns]
        shallow_first = as_wide[np.argsort(depth[as_wide], kind="stable")]
        seen = np.sort(np.append(wider, shallow_first[: at_most - len(wider)]))
    return top.index + 1 + seen, least_ns


class _Drawn(NamedTuple):
    """A frame that is drawn: its row in the tree, the row after what it called, and the rest of what boxes are made of."""

    row: int
    end: int
    depth: int
    name: str
    value_ns: int
    self_ns: int
    hot: bool


def _drawn(tree: FrameTree, rows: Rows) -> list[_Drawn]:
    names = [tree.texts[name] for name in tree.name[rows].tolist()]
    columns = [column[rows].tolist() for column in (tree.end, tree.depth, tree.value_ns, tree.self_ns, tree.is_hot)]
    return list(map(_Drawn, rows.tolist(), columns[0], columns[1], names, *columns[2:]))


@dataclass(frozen=True)
class _Plan:
    """The ancestors' boxes, the frames that are drawn above them, `parents` by their places among those, what of each is
    drawn as "other", by its place, and the key of the tree's root."""

    ancestors: list[Box]
    shown: list[_Drawn]
    parents: list[int]
    other_ns: dict[int, int]
    first_key: int


def _plan(top: Frame, rows: Rows, least_ns: float) -> _Plan:
    """Plan to draw these frames too, which hold the callers of each; what they called besides is their "other"."""
    shown = _drawn(top.tree, np.append(top.index, rows))
    parents = _parents(shown)
    left_ns = [frame.value_ns - frame.self_ns for frame in shown]
    for frame, parent in zip(shown[1:], parents[1:], strict=True):
        left_ns[parent] -= frame.value_ns
    other_ns = {place: ns for place, ns in enumerate(left_ns) if ns > least_ns}
    return _Plan(_ancestors(top), shown, parents, other_ns, top.tree.first_key)


def _boxes(plan: _Plan) -> list[Box]:
    shown, parents, laid = plan.shown, plan.parents, list(plan.ancestors)
    order = [(frame.row, 1, 0, place) for place, frame in enumerate(shown)]
    order += [(shown[place].end, 0, -place, place) for place in plan.other_ns]
    made: dict[int, Box] = {}
    next_ns = [0] * len(shown)  # where the next of what a frame called begins
    for _, is_frame, _, place in sorted(order):
        if not is_frame:
            below = made[place]
            laid.append(Box(OTHER, below.depth + 1, next_ns[place], plan.other_ns[place], 0, 0, below.waker))
            continue
        frame, parent = shown[place], parents[place]
        box = _box(frame, made[parent] if place else laid[-1] if laid else None, next_ns[parent], plan.first_key)
        next_ns[parent] += box.value_ns
        next_ns[place] = box.begin_ns + frame.self_ns
        made[place] = box
        laid.append(box)
    return laid


def _ancestors(top: Frame) -> list[Box]:
    laid: list[Box] = []
    above = np.array([frame.index for frame in top.path()[:-1]], np.int64)
    for frame in _drawn(top.tree, above):
        laid.append(_box(frame, laid[-1] if laid else None, 0, top.tree.first_key)._replace(ancestor=True))
    return laid


def _box(frame: _Drawn, below: Box | None, begin_ns: int, first_key: int) -> Box:
    depth, key, waker = 0, first_key, frame.name == WAKER_MARK
    if below is not None:
        depth, key, waker = below.depth + 1, frame_key(below.key, frame.name), waker or below.waker
    return Box(frame.name, depth, begin_ns, frame.value_ns, key, frame.row, waker, frame.hot)


def _parents(shown: list[_Drawn]) -> list[int]:
    """Return the place of every frame's caller among them; that of the first is 0."""
    last = {shown[0].depth - 1: 0}
    found = []
    for place, frame in enumerate(shown):
        found.append(last[frame.depth - 1])
        last[frame.depth] = place
    return found
