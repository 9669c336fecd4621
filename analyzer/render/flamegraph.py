"""Flame graphs as SVG, after Brendan Gregg's: his conventions, in about a quarter of the bytes.

The numbers that the script needs (depth, name, nanoseconds, key of every frame, in the order of the rectangles) are one
JSON text in <metadata>; the rectangles and labels are there for readers without a script.
"""

import json
from dataclasses import dataclass

from offwake.analyzer.profile import Profile
from offwake.analyzer.render.colours import MATCH, Family, frame_colour
from offwake.analyzer.render.svg import MARGIN, Caption, cut, document, escape, head, opening
from offwake.analyzer.render.text import percent, weighed
from offwake.analyzer.render.tree import OTHER, Box, Frame, FrameTree, boxes, matched_ns

__all__ = ["FlameOptions", "draw", "flame_graph"]

ROW = 16
LABEL_PX = 12
LABEL_INSET = 3
BAR = 24
"""Height of the line that names the frame under the pointer."""
NAME_AT_MOST = 300
"""Characters of a name that the script gets; beyond them it knows no more than the label."""
ON_CPU_VIEWS = {"on-cpu"}
WAKER_VIEWS = {"wakeup"}
"""Views whose stacks are all wakers'."""
MIXED_VIEWS = {"wall"}
"""Views in which some stacks are on the CPU, those that end in `[on CPU]`, and the others are off it."""


@dataclass(frozen=True)
class FlameOptions:
    """How to draw: how wide in pixels, growing up (flame) or down (icicle), which frame fills the width (its key), and
    which names are marked as matches (None: there is no search)."""

    width: int = 1200
    icicle: bool = False
    zoom: int | None = None
    matches: frozenset[str] | None = None


def flame_graph(profile: Profile, caption: Caption, options: FlameOptions | None = None) -> str:
    """Return a profile's flame graph as an SVG file that zooms and searches by itself in a browser."""
    return document(draw(FrameTree(profile), caption, options or FlameOptions()), "flamegraph.js")


def draw(tree: FrameTree, caption: Caption, options: FlameOptions) -> str:
    """Return a tree's flame graph as an `<svg>` element without script and style, for a page that brings both."""
    top = (tree.find(options.zoom) if options.zoom is not None else None) or tree.root
    laid = boxes(top, options.width - 2 * MARGIN)
    deepest = max(box.depth for box in laid)
    header = head(caption, options.width)
    above = header.height + BAR
    height = above + (deepest + 1) * ROW + MARGIN
    rows = [box.depth if options.icicle else deepest - box.depth for box in laid]
    scale = (options.width - 2 * MARGIN) / max(top.value_ns, 1)
    frames, labels = _frames(tree, laid, rows, _Scale(scale, options.matches))
    name = f"{caption.title}, {caption.subtitle}: {weighed(tree.root.value_ns, tree.unit)}"
    return "\n".join(
        [
            opening("flame", options.width, height, (name, _description(tree), _metadata(tree, laid, top, options.icicle))),
            _background(tree.view),
            header.svg,
            f'<g class="frames" transform="translate({MARGIN},{above})">',
            *frames,
            "</g>",
            f'<g class="labels" transform="translate({MARGIN},{above})" pointer-events="none">',
            *labels,
            "</g>",
            f'<g class="bar" transform="translate(0,{header.height})" pointer-events="none">',
            f'<rect class="paper" width="100%" height="{BAR - 4}" fill="#eee" fill-opacity=".9"/>',
            f'<text class="details ink" x="{MARGIN}" y="14"/>',
            f'<text class="matched ink" x="100%" dx="-{MARGIN}" y="14" text-anchor="end">'
            f"{_matched(tree, top, options.matches)}</text></g>",
            "</svg>",
        ]
    )


@dataclass(frozen=True)
class _Scale:
    """Pixels a nanosecond, and what is marked."""

    px_per_ns: float
    matches: frozenset[str] | None


def _frames(tree: FrameTree, laid: list[Box], rows: list[int], scale: _Scale) -> tuple[list[str], list[str]]:
    """Return the rectangles in the order of the boxes, and the labels of those wide enough for one."""
    full = next(box.value_ns for box in laid if not box.ancestor)
    rectangles, labels = [], []
    for box, row in zip(laid, rows, strict=True):
        x = box.begin_ns * scale.px_per_ns
        width = (full if box.ancestor else box.value_ns) * scale.px_per_ns
        colour = "#a0a0a0" if box.name == OTHER and not box.key else frame_colour(box.name, _family(box, tree.view))
        if scale.matches and box.name in scale.matches and box.key:
            colour = MATCH
        faint = ' opacity=".5"' if box.ancestor else ""
        solid = max(width - min(0.6, width / 5), 0.1)
        rectangles.append(f'<rect x="{x:.1f}" y="{row * ROW}" width="{solid:.1f}" height="15" fill="{colour}"{faint}/>')
        label = cut(box.name, width - 2 * LABEL_INSET, LABEL_PX)
        if label:
            labels.append(f'<text x="{x + LABEL_INSET:.1f}" y="{row * ROW + 11}">{escape(label)}</text>')
    if not tree.root.children:
        labels = ['<text class="ink" x="3" y="11">no stacks</text>']
    return rectangles, labels


def _family(box: Box, view: str) -> Family:
    if view in MIXED_VIEWS:
        return Family.ON_CPU if box.hot else Family.COLD
    if view in ON_CPU_VIEWS:
        return Family.ON_CPU
    return Family.WAKER if box.waker or view in WAKER_VIEWS else Family.OFF_CPU


def _metadata(tree: FrameTree, laid: list[Box], top: Frame, icicle: bool) -> str:
    names = {name: index for index, name in enumerate(dict.fromkeys(box.name for box in laid))}
    frames = [[box.depth, names[box.name], box.value_ns, box.key] for box in laid]
    zoom = next(box.key for box in laid if not box.ancestor) if top.parent else None
    shown = [name[:NAME_AT_MOST] for name in names]
    data = {"icicle": icicle, "zoom": zoom, "unit": tree.unit, "names": shown, "frames": frames}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _matched(tree: FrameTree, top: Frame, matches: frozenset[str] | None) -> str:
    if matches is None:
        return ""
    text = f"Matched: {percent(matched_ns(top, matches), top.value_ns, 1)}"
    if top is not tree.root:
        text += f" ({percent(matched_ns(tree.root, matches), tree.root.value_ns, 1)} of all)"
    return text


def _description(tree: FrameTree) -> str:
    widest = sorted(tree.root.children.values(), key=lambda frame: -frame.value_ns)[:5]
    listed = ", ".join(f"{frame.name} {weighed(frame.value_ns, tree.unit)}" for frame in widest)
    what = "time" if tree.unit == "ns" else tree.unit
    return f"Flame graph. Width is {what}, each row calls the row after it. Most {what}: {listed or 'nothing'}."


def _background(view: str) -> str:
    family, end = ("warm", "#eeeeb0") if view in ON_CPU_VIEWS else ("cool", "#e0e0ff")
    return (
        f'<linearGradient id="ground" x2="0" y2="1"><stop class="{family}0" stop-color="#eeeeee"/>'
        f'<stop class="{family}1" offset="1" stop-color="{end}"/></linearGradient>'
        '<rect class="ground" width="100%" height="100%" fill="url(#ground)"/>'
    )
