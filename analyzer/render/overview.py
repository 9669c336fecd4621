"""The timeline as SVG: one lane above the other, time across, so that what happened together lies on one line.

Each lane is a path in steps, from its own 0 to its own most, which is written beside it. Where events may be missing, a band
runs through all lanes. The script reads the figures from an attribute of the plot.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.overview import Overview
from offwake.analyzer.render.svg import MARGIN, Caption, document, escape, head, opening
from offwake.analyzer.render.text import significant
from offwake.analyzer.render.ticks import label, time_axis

__all__ = ["draw", "timeline"]

WIDTH = 1200
LEFT = 210
LANE, GAP = 16, 3
BAR, BELOW = 20, 24
Values = NDArray[np.float64]


@dataclass(frozen=True)
class _Part:
    """One series of a lane: what it is called in the hover line, its unit, its colour and its value in each column."""

    name: str
    unit: str
    colour: str
    values: Values


@dataclass(frozen=True)
class _Lane:
    """Series on top of each other; `most` is what the lane's height stands for."""

    title: str
    parts: tuple[_Part, ...]
    most: float


def timeline(overview: Overview, caption: Caption) -> str:
    """Return the timeline as an SVG file."""
    return document(draw(overview, caption), "overview.js")


def draw(overview: Overview, caption: Caption | None = None) -> str:
    """Return the timeline as an `<svg>` element without script and style, for a page that brings both."""
    lanes = list(_lanes(overview))
    header = head(caption, WIDTH) if caption else None
    above = (header.height if header else 0) + BAR
    width, height = WIDTH - LEFT - MARGIN, len(lanes) * (LANE + GAP) - GAP
    name = f"Timeline{f' of {caption.subtitle}' if caption else ''}"
    count = overview.columns.count
    return "\n".join(
        [
            opening("timeline", WIDTH, above + height + BELOW, (name, _description(lanes), "")),
            '<rect class="paper" width="100%" height="100%" fill="#fff"/>',
            header.svg if header else "",
            f'<text class="now ink" x="{MARGIN}" y="{above - 7}"/>',
            f'<text class="chosen ink" x="{WIDTH - MARGIN}" y="{above - 7}" text-anchor="end"/>',
            *_labels(lanes, above),
            f'<g transform="translate({LEFT},{above})">',
            *_lost(overview, width, height),
            *(path for row, lane in enumerate(lanes) for path in _paths(lane, row * (LANE + GAP), width / count)),
            *time_axis((0, count * overview.columns.width_ns), width, height),
            f'<rect class="span" width="{width}" height="{height}" fill-opacity="0" '
            f'data-figures="{escape(_figures(overview, lanes))}"/>',
            "</g>",
            "</svg>",
        ]
    )


def _lanes(overview: Overview) -> Iterator[_Lane]:
    """Yield what there is to draw; what nothing was recorded of is left out.

    A lane is as high as its highest column; a last one of less than half the width, in which a few events are a high rate,
    does not count.
    """
    sums, lengths = overview.sums, overview.lengths_ns
    seconds = lengths / 1e9
    counts = 2 * lengths >= min(overview.columns.width_ns, overview.end_ns)

    def lane(title: str, *parts: _Part) -> _Lane:
        together = np.sum([part.values for part in parts], axis=0)
        return _Lane(title, parts, float(together[counts].max(initial=0)))

    yield lane("events/s", _Part("events/s", "", "#707078", sums["events"] / seconds))
    running = 100 * sums["on_cpu_ns"] / (lengths * max(overview.cpus, 1))
    yield _Lane("CPUs busy", (_Part("on the CPU", "%", "#d9534a", running),), 100)
    queued = (sums["run_queue_ns"] + sums["preempted_ns"]) / lengths
    yield lane("waiting for a CPU", _Part("waiting for a CPU", "threads", "#e08a1e", queued))
    yield lane("blocked threads", _Part("blocked", "threads", "#5b5bd0", sums["blocked_ns"] / lengths))
    if sums["io_requests"].any():
        yield lane("block I/O/s", _Part("block I/O/s", "", "#8a5bb5", sums["io_requests"] / seconds))
    if sums["tcp_opened"].any() or sums["tcp_retransmits"].any():
        opened = _Part("TCP opened/s", "", "#2a9a9a", sums["tcp_opened"] / seconds)
        again = _Part("retransmits/s", "", "#e50914", sums["tcp_retransmits"] / seconds)
        yield lane("TCP opened, resent/s", opened, again)


def _labels(lanes: list[_Lane], above: int) -> Iterator[str]:
    for row, lane in enumerate(lanes):
        y = above + row * (LANE + GAP)
        most = _number(lane.most) + (" %" if lane.parts[0].unit == "%" else "")
        yield f'<g font-size="10">{label(LEFT - 8, y + 12, f"{lane.title} ≤ {most}", "end")}</g>'


def _paths(lane: _Lane, y: int, step: float) -> Iterator[str]:
    """Draw a lane's series from the top one down, so that each hides the lower part of the one behind it."""
    yield f'<rect class="lane" y="{y}" width="{step * len(lane.parts[0].values):g}" height="{LANE}" fill="#f4f5f8"/>'
    sums = np.cumsum([part.values for part in lane.parts], axis=0)
    for part, values in reversed(list(zip(lane.parts, sums, strict=True))):
        heights = np.round(LANE * np.minimum(values / (lane.most or 1), 1), 1)
        yield f'<path fill="{part.colour}" d="M0 {y + LANE}{_steps(heights, y + LANE, step)}V{y + LANE}z"/>'


def _steps(heights: Values, floor: int, step: float) -> str:
    """Return the outline of columns from left to right; equal neighbours are one step."""
    ends = np.flatnonzero(np.append(np.diff(heights) != 0, True)) + 1
    return "".join(f"V{floor - heights[end - 1]:g}H{end * step:.1f}" for end in ends.tolist())


def _lost(overview: Overview, width: int, height: int) -> Iterator[str]:
    lost = np.flatnonzero(overview.sums["lost_ns"])
    step = width / overview.columns.count
    if len(lost):
        wide = max(step, 1)
        bands = "".join(f"M{column * step:.1f} -4h{wide:.1f}v{height + 8}h-{wide:.1f}z" for column in lost.tolist())
        yield f'<path class="lost" fill="#a33c00" fill-opacity=".3" d="{bands}"><title>events lost</title></path>'


def _figures(overview: Overview, lanes: list[_Lane]) -> str:
    parts = [part for lane in lanes for part in lane.parts]
    lost = 100 * overview.sums["lost_ns"] / (overview.lengths_ns * max(overview.cpus, 1))
    if lost.any():
        parts.append(_Part("of CPU time with events lost", "%", "", lost))
    data = {
        "width_ns": overview.columns.width_ns,
        "end_ns": overview.end_ns,
        "columns": overview.columns.count,
        "parts": [[part.name, part.unit, [float(f"{value:.3g}") for value in part.values.tolist()]] for part in parts],
    }
    return json.dumps(data, separators=(",", ":"))


def _description(lanes: list[_Lane]) -> str:
    most = ", ".join(f"{lane.title} at most {_number(lane.most)}" for lane in lanes)
    return f"What the machine did over time: {most}. The table “overview” has the figures."


def _number(value: float) -> str:
    return significant(value) if value >= 1 else f"{value:.2g}"
