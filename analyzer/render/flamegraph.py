"""Flame graphs as SVG, after Brendan Gregg's: his conventions, in about a quarter of the bytes.

The numbers that the script needs (depth, name, nanoseconds, key of every frame, in the order of the rectangles) are one
JSON text in <metadata>; the rectangles and labels are there for readers without a script.
"""

import json
from dataclasses import dataclass
from typing import Any, Protocol

from offwake.analyzer.render.colours import MATCH, Family, frame_colour
from offwake.analyzer.render.layout import BOXES_AT_MOST, OTHER, Box, boxes, rows
from offwake.analyzer.render.svg import MARGIN, Caption, cut, document, escape, head, legend, opening
from offwake.analyzer.render.text import percent, weight
from offwake.analyzer.render.tree import Frame, FrameTree, matched_ns

__all__ = ["FlameOptions", "Marks", "draw", "flame_graph"]

ROW = 16
LABEL_PX = 12
LABEL_INSET = 3
BAR = 24
"""Height of the line that names the frame under the pointer."""
NAME_AT_MOST = 300
"""Characters of a name that the script gets; beyond them it knows no more than the label."""
MARKED_AT_MOST = 2400
"""Frames that are drawn where each has words of its own, so that such a picture is no larger than others."""
ROWS_STANDING = 40
"""A picture of more rows is higher than most windows. It hangs from its root, so that the wide frames are seen first."""
ON_CPU_VIEWS = {"on-cpu"}
WAKER_VIEWS = {"wakeup"}
"""Views whose stacks are all wakers'."""
MIXED_VIEWS = {"wall"}
"""Views in which some stacks are on the CPU, those that end in `[on CPU]`, and the others are off it."""


@dataclass(frozen=True)
class FlameOptions:
    """How to draw: how wide in pixels, hanging (icicle) or standing (flame), which frame fills the width (its key), and
    which names are marked as matches (None: there is no search), and how many frames. None as `icicle` is what suits the
    height.

    `marks` says of each frame what names and widths do not.
    """

    at_most: int = BOXES_AT_MOST
    width: int = 1200
    icicle: bool | None = None
    zoom: int | None = None
    matches: frozenset[str] | None = None
    marks: "Marks | None" = None


class Marks(Protocol):
    """What a picture says of frames besides their names and widths: a colour, and words for the hover line.

    Frames are told by their rows in the tree. `about` describes the picture; `legend` lists its colours and what they mean.
    """

    about: str
    legend: tuple[tuple[str, str], ...]

    def colour(self, frame: int) -> str:
        """Return a frame's colour."""

    def words(self, frame: int) -> str:
        """Return what the hover line says after a frame's name."""


def flame_graph(tree: FrameTree, caption: Caption, options: FlameOptions | None = None) -> str:
    """Return a tree's flame graph as an SVG file that zooms and searches by itself in a browser."""
    return document(draw(tree, caption, options or FlameOptions()), "flamegraph.js")


def draw(tree: FrameTree, caption: Caption, options: FlameOptions) -> str:
    """Return a tree's flame graph as an `<svg>` element without script and style, for a page that brings both."""
    top = (tree.find(options.zoom) if options.zoom is not None else None) or tree.root
    laid = boxes(top, options.width - 2 * MARGIN, min(options.at_most, MARKED_AT_MOST if options.marks else BOXES_AT_MOST))
    lowest, highest = min(box.depth for box in laid), max(box.depth for box in laid)
    hangs = _hangs(tree, options.width)
    icicle = hangs if options.icicle is None else options.icicle
    header = head(caption, options.width)
    if options.marks:
        header = legend(header, options.marks.legend, options.width)
    above = header.height + BAR
    height = above + (highest - lowest + 1) * ROW + MARGIN
    places = [box.depth - lowest if icicle else highest - box.depth for box in laid]
    data = _Data(tree.all_ns, icicle, hangs, tree.root.name if tree.callers else None, tree.unit, options.marks)
    scale = (options.width - 2 * MARGIN) / max(top.value_ns, 1)
    frames, labels = _frames(tree, laid, places, _Scale(scale, options.matches, options.marks))
    about = options.marks.about if options.marks else _description(tree)
    name = ", ".join((caption.title, caption.subtitle))
    if not options.marks:
        name += f": {weight(tree.root.value_ns, tree.unit)}"
    return "\n".join(
        [
            opening("flame", options.width, height, (name, about, _metadata(laid, top, data))),
            _background(tree.view),
            header.svg,
            f'<g class="frames" transform="translate({MARGIN},{above})">',
            "".join(frames),
            "</g>",
            f'<g class="labels" transform="translate({MARGIN},{above})" pointer-events="none">',
            "".join(labels),
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
    """Pixels a nanosecond, what is marked as a match, and what is said of frames besides."""

    px_per_ns: float
    matches: frozenset[str] | None
    marks: Marks | None


def _hangs(tree: FrameTree, width: int) -> bool:
    """Tell whether a picture of the whole tree hangs when nobody says how it is to be: a sandwich and a high one do."""
    return tree.callers is not None or rows(tree.root, width - 2 * MARGIN) > ROWS_STANDING


def _frames(tree: FrameTree, laid: list[Box], rows: list[int], scale: _Scale) -> tuple[list[str], list[str]]:
    """Return the rectangles in the order of the boxes, and the labels of those wide enough for one."""
    full = next(box.value_ns for box in laid if not box.ancestor)
    rectangles, labels = [], []
    for box, row in zip(laid, rows, strict=True):
        x = box.begin_ns * scale.px_per_ns
        width = (full if box.ancestor else box.value_ns) * scale.px_per_ns
        if box.name == OTHER and not box.key:
            colour = "#a0a0a0"
        elif scale.marks:
            colour = scale.marks.colour(box.row)
        else:
            colour = frame_colour(box.name, _family(box, tree.view))
        if scale.matches and box.name in scale.matches and box.key:
            colour = MATCH
        faint = ' opacity=".5"' if box.ancestor else ""
        solid = max(width - min(0.6, width / 5), 0.1)
        # Lines end inside of tags: between them each would be a node for the browser.
        rectangles.append(f'<rect x="{x:.1f}" y="{row * ROW}" width="{solid:.1f}" height="15" fill="{colour}"{faint}\n/>')
        label = cut(box.name, width - 2 * LABEL_INSET, LABEL_PX)
        if label:
            labels.append(f'<text x="{x + LABEL_INSET:.1f}" y="{row * ROW + 11}"\n>{escape(label)}</text>')
    if not tree.root.children:
        labels = ['<text class="ink" x="3" y="11">no stacks</text>']
    return rectangles, labels


def _family(box: Box, view: str) -> Family:
    if view in MIXED_VIEWS:
        return Family.ON_CPU if box.hot else Family.COLD
    if view in ON_CPU_VIEWS:
        return Family.ON_CPU
    return Family.WAKER if box.waker or view in WAKER_VIEWS else Family.OFF_CPU


@dataclass(frozen=True)
class _Data:
    """What the script is told of a picture besides its frames: what shares are of, how it is turned, what it is of."""

    all_ns: int
    icicle: bool
    hangs: bool
    sandwich: str | None
    unit: str
    marks: Marks | None = None


def _metadata(laid: list[Box], top: Frame, data: _Data) -> str:
    names = {name: index for index, name in enumerate(dict.fromkeys(box.name for box in laid))}
    frames = [[box.depth, names[box.name], box.value_ns, box.key] for box in laid]
    zoom = next(box.key for box in laid if not box.ancestor) if top.index else None
    known: dict[str, Any] = {"zoom": zoom, "names": [name[:NAME_AT_MOST] for name in names], "frames": frames}
    known |= {"all_ns": data.all_ns, "icicle": data.icicle, "hangs": data.hangs, "sandwich": data.sandwich}
    known |= {"unit": data.unit, "name_at_most": NAME_AT_MOST}
    if data.marks:
        words = [data.marks.words(box.row) if box.key else "" for box in laid]
        number = {text: index for index, text in enumerate(dict.fromkeys(words))}  # frames in a row often say the same
        known["says"] = {"texts": list(number), "of": [number[text] for text in words]}
    return json.dumps(known, ensure_ascii=False, separators=(",", ":"))


def _matched(tree: FrameTree, top: Frame, matches: frozenset[str] | None) -> str:
    if matches is None:
        return ""
    text = f"Matched: {percent(matched_ns(top, matches), top.value_ns, 1)}"
    if tree.callers and top == tree.root:
        text += f" of callees, {percent(matched_ns(tree.callers.root, matches), top.value_ns, 1)} of callers"
    elif not tree.callers and top != tree.root:
        text += f" ({percent(matched_ns(tree.root, matches), tree.root.value_ns, 1)} of all)"
    return text


def _description(tree: FrameTree) -> str:
    widest = sorted(tree.root.children.values(), key=lambda frame: -frame.value_ns)[:5]
    listed = ", ".join(f"{frame.name} {weight(frame.value_ns, tree.unit)}" for frame in widest) or "nothing"
    what = "time" if tree.unit == "ns" else tree.unit
    if tree.callers:
        return f"What called {tree.root.name}, and what it called. Width is {what}. Most {what}: {listed}."
    return f"Flame graph. Width is {what}, each row calls the row after it. Most {what}: {listed}."


def _background(view: str) -> str:
    family, end = ("warm", "#eeeeb0") if view in ON_CPU_VIEWS else ("cool", "#e0e0ff")
    return (
        f'<linearGradient id="ground" x2="0" y2="1"><stop class="{family}0" stop-color="#eeeeee"/>'
        f'<stop class="{family}1" offset="1" stop-color="{end}"/></linearGradient>'
        '<rect class="ground" width="100%" height="100%" fill="url(#ground)"/>'
    )
