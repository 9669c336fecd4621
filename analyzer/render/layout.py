"""Layouts: what of a frame tree a picture of some width can show, and where.

A picture is never larger than what can be seen in it: frames too narrow to see, and the narrowest of too many, are
folded into their parent's "other".
"""

from dataclasses import dataclass, replace

import numpy as np

from offwake.analyzer.render.tree import Frame, frame_key

__all__ = ["OTHER", "Box", "boxes", "rows"]

OTHER = "other"
DEEP, SLIVER = 48, 0.02
"""Rows from which on a picture ends where a row holds less than this share of it."""
WAKER_MARK = "--"
NARROWEST_PX = 0.1
BOXES_AT_MOST = 4000
"""So that a picture stays under 500 KB, whatever the profile: the widest are drawn, the rest is folded into "other"."""


@dataclass(frozen=True, slots=True)
class Box:
    """A frame as it is drawn: `depth` rows from the root, from `begin_ns` on, `value_ns` wide.

    `begin_ns` counts from the left of the shown frame, whose width is the picture's; its ancestors span it. `waker` is
    set behind a `--`, `hot` where most of the time is on the CPU. `key` is 0 for what was folded into "other". Callers in
    a sandwich have depths below 0.
    """

    name: str
    depth: int
    begin_ns: int
    value_ns: int
    key: int
    waker: bool
    hot: bool = False
    ancestor: bool = False


def boxes(top: Frame, width_px: float) -> list[Box]:
    """Lay out the ancestors of `top`, then `top` and what it called, parents before children, siblings alphabetically.

    At most 4,000, besides ancestors: a frame that would be narrower than 0.1 px, or is not among the widest, is folded
    into its parent's "other"; an "other" that is itself too narrow is left blank. So is what stands on more than 48 rows
    where all of a row together is a sliver: a single chain of sixty wakers would make the picture ten times as high as
    all others need. Time of stacks that end in a frame comes first in its row. In a sandwich the callers of the root come
    after all that it called, each half with half of the boxes.
    """
    callers, half = top.tree.callers, BOXES_AT_MOST // 2
    if callers and not top.index:
        return [*_laid_out(top, width_px, half), *_turned(_laid_out(callers.root, width_px, half)[1:])]
    laid = _laid_out(top, width_px, BOXES_AT_MOST)
    return _turned(laid) if top.tree.of_callers else laid


def rows(top: Frame, width_px: float) -> int:
    """Return how many rows `top` and what of its callees can be seen take."""
    seen, _ = _widest(top, top.value_ns * NARROWEST_PX / width_px, BOXES_AT_MOST)
    depth = top.tree.depth
    return max((int(depth[frame.index]) for frame in seen), default=int(depth[top.index])) - int(depth[top.index]) + 1


def _turned(laid: list[Box]) -> list[Box]:
    return [replace(box, depth=-box.depth) for box in laid]


def _laid_out(top: Frame, width_px: float, at_most: int) -> list[Box]:
    narrowest_ns = top.value_ns * NARROWEST_PX / width_px
    plan = _plan(top, *_widest(top, narrowest_ns, at_most * 9 // 10))
    if len(plan.shown) + len(plan.other_ns) > at_most:  # of "other" there is at most one a frame
        plan = _plan(top, *_widest(top, narrowest_ns, at_most // 2))
    return _boxes(plan)


def _widest(top: Frame, least_ns: float, at_most: int) -> tuple[list[Frame], float]:
    """Return the frames under `top` of at least `least_ns`, or so many of the widest, shallow first; and the least."""
    tree, rows = top.tree, slice(top.index + 1, top.end)
    depth, value_ns = tree.depth[rows] - tree.depth[top.index], tree.value_ns[rows]
    seen = np.flatnonzero(value_ns >= least_ns)
    row_ns = np.bincount(depth[seen], value_ns[seen], DEEP + 2)
    slivers = np.flatnonzero(row_ns[DEEP + 1 :] < SLIVER * top.value_ns)
    seen = seen[depth[seen] < (DEEP + 1 + slivers[0] if len(slivers) else len(row_ns))]
    if len(seen) > at_most:
        widest_first = seen[np.lexsort((depth[seen], -value_ns[seen]))]
        least_ns = float(value_ns[widest_first[at_most]])
        seen = np.sort(widest_first[:at_most])
    return [Frame(tree, index) for index in (top.index + 1 + seen).tolist()], least_ns


@dataclass(frozen=True)
class _Plan:
    """Frames that are drawn, `parents` by their places among them, and what of each is drawn as "other", by its place."""

    shown: list[Frame]
    parents: list[int]
    other_ns: dict[int, int]


def _plan(top: Frame, drawn: list[Frame], least_ns: float) -> _Plan:
    """Plan to draw these frames, which hold the callers of each; what they called besides is their "other"."""
    shown = [top, *drawn]
    parents = _parents(shown)
    left_ns = [frame.value_ns - frame.self_ns for frame in shown]
    for frame, parent in zip(drawn, parents[1:], strict=True):
        left_ns[parent] -= frame.value_ns
    return _Plan(shown, parents, {place: ns for place, ns in enumerate(left_ns) if ns > least_ns})


def _boxes(plan: _Plan) -> list[Box]:
    shown, parents = plan.shown, plan.parents
    laid = _ancestors(shown[0])
    order = [(frame.index, 1, 0, place) for place, frame in enumerate(shown)]
    order += [(shown[place].end, 0, -place, place) for place in plan.other_ns]
    made: dict[int, Box] = {}
    next_ns = [0] * len(shown)  # where the next of what a frame called begins
    for _, is_frame, _, place in sorted(order):
        if not is_frame:
            below = made[place]
            laid.append(Box(OTHER, below.depth + 1, next_ns[place], plan.other_ns[place], 0, below.waker))
            continue
        frame = shown[place]
        box = _box(frame, made[parents[place]] if place else laid[-1] if laid else None, next_ns[parents[place]])
        next_ns[parents[place]] += box.value_ns
        next_ns[place] = box.begin_ns + frame.self_ns
        made[place] = box
        laid.append(box)
    return laid


def _ancestors(top: Frame) -> list[Box]:
    laid: list[Box] = []
    for frame in top.path()[:-1]:
        laid.append(replace(_box(frame, laid[-1] if laid else None, 0), ancestor=True))
    return laid


def _box(frame: Frame, below: Box | None, begin_ns: int) -> Box:
    if below is None:
        return Box(frame.name, 0, begin_ns, frame.value_ns, frame.tree.first_key, frame.name == WAKER_MARK, frame.is_hot)
    waker, key = below.waker or frame.name == WAKER_MARK, frame_key(below.key, frame.name)
    return Box(frame.name, below.depth + 1, begin_ns, frame.value_ns, key, waker, frame.is_hot)


def _parents(shown: list[Frame]) -> list[int]:
    """Return the place of every frame's caller among them; that of the first is 0."""
    last = {int(shown[0].tree.depth[shown[0].index]) - 1: 0}
    found = []
    for place, frame in enumerate(shown):
        depth = int(frame.tree.depth[frame.index])
        found.append(last[depth - 1])
        last[depth] = place
    return found
