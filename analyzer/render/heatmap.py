"""Heat maps as SVG: time across, latency up on its logarithmic scale, count as colour on a square-root scale.

Of an offset map the periods run across, and the offset within each runs up.

Cells of one colour are one path in units of cells, so a map of 240 × 80 cells is tens of kilobytes; the counts for the
script are sparse rows of one JSON text in <metadata>.
"""

import json
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.heatmap import ROWS_PER_DECADE, SECOND, Heatmap
from offwake.analyzer.render.colours import heat_colour
from offwake.analyzer.render.svg import MARGIN, Caption, document, head, opening
from offwake.analyzer.render.text import count, duration, percent
from offwake.analyzer.render.ticks import label, round_duration, round_step, time_axis

__all__ = ["draw", "heat_map", "title"]

WIDTH = 1200
LEFT = 76
BAR = 24
BELOW = 60
BESIDE = 120
"""Width of the histogram beside the map, one bar for each of its rows."""
LEVELS = 24
"""Shades that the eye can hardly tell apart, each one path."""


def title(heatmap: Heatmap) -> str:
    """Return what a map shows, in a few words."""
    if heatmap.rows_of == "offset":
        period = "second" if heatmap.column_ns == SECOND else round_duration(heatmap.column_ns)
        return f"{heatmap.of} by the offset within each {period}"
    return f"{heatmap.of} latency" if heatmap.unit else heatmap.of


def heat_map(heatmap: Heatmap, caption: Caption) -> str:
    """Return a heat map as an SVG file that names its cells and selects regions by itself in a browser."""
    return document(draw(heatmap, caption), "heatmap.js")


def draw(heatmap: Heatmap, caption: Caption) -> str:
    """Return a heat map as an `<svg>` element without script and style, for a page that brings both."""
    rows, columns = heatmap.counts.shape
    header = head(caption, WIDTH)
    above = header.height + BAR
    cell_height = min(14, max(4, round(380 / rows))) if rows else 0
    plot_width, plot_height = WIDTH - LEFT - 2 * MARGIN - BESIDE, cell_height * rows or 60
    height = above + plot_height + BELOW
    most = int(heatmap.counts.max()) if rows else 0
    name = f"{caption.title}, {caption.subtitle}"
    scale = f"scale({plot_width / max(columns, 1):.6g},{cell_height}) translate(0,.5)"
    return "\n".join(
        [
            opening("heat", WIDTH, height, (name, _description(heatmap), _metadata(heatmap))),
            '<rect class="paper" width="100%" height="100%" fill="#fff"/>',
            header.svg,
            f'<g class="bar"><text class="details ink" x="{MARGIN}" y="{header.height + 12}"/>'
            f'<text class="selected ink" x="{WIDTH - MARGIN}" y="{header.height + 12}" text-anchor="end"/></g>',
            f'<g transform="translate({LEFT},{above})">',
            f'<g transform="{scale}" fill="none" shape-rendering="crispEdges">',
            *_paths(heatmap.counts),
            "</g>",
            *_row_axis(heatmap, cell_height, plot_width),
            *time_axis(_time(heatmap), plot_width, plot_height),
            "" if most else label(plot_width / 2, 34, "nothing to show"),
            f'<rect class="plot rule" width="{plot_width}" height="{plot_height}" fill-opacity="0" stroke="#bbb"/>',
            "</g>",
            *_beside(heatmap, cell_height, (LEFT + plot_width + MARGIN, above)),
            *_legend(most, above + plot_height + 44),
            "</svg>",
        ]
    )


def _edges(heatmap: Heatmap) -> list[int]:
    """Return the rows' lower bounds, and the upper bound of the last."""
    rows: list[int] = heatmap.rows.tolist()
    return [*rows, heatmap.top_ns] if rows else []


def _time(heatmap: Heatmap) -> tuple[int, int]:
    """Return when the map begins and how long it is (ns)."""
    columns: list[int] = heatmap.columns.tolist()
    return (columns[0], heatmap.column_ns * len(columns)) if columns else (0, 0)


def _levels(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the shade of each cell, 0 (none) to LEVELS, on the square-root scale."""
    levels: NDArray[np.float64] = np.ceil(LEVELS * np.sqrt(counts / max(1, counts.max(initial=0))))
    return levels.astype(np.int64)


def _paths(counts: NDArray[np.int64]) -> list[str]:
    """Return one path a shade; runs of cells of one shade in a row are one stroke of it, as wide as a cell is high."""
    runs: dict[int, list[str]] = {}
    for row, shades in enumerate(_levels(counts)[::-1]):
        begins = np.flatnonzero(np.diff(shades, prepend=-1))
        for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), len(shades)], strict=True):
            if shades[begin]:
                runs.setdefault(int(shades[begin]), []).append(f"M{begin} {row}h{end - begin}")
    paths = []
    for level, run in sorted(runs.items()):
        colour, opacity = heat_colour(level / LEVELS)
        paths.append(f'<path stroke="{colour}" stroke-opacity="{opacity:g}" d="{"".join(run)}"/>')
    return paths


def _metadata(heatmap: Heatmap) -> str:
    """Return what the script reads: bounds, and for each row column, count, column, count, … where there are any."""
    sparse = []
    for row in heatmap.counts:
        columns = np.flatnonzero(row)
        sparse.append(np.stack([columns, row[columns]], axis=1).ravel().tolist())
    data = {
        "begin_ns": int(heatmap.columns[0]) if len(heatmap.columns) else 0,
        "column_ns": heatmap.column_ns,
        "columns": len(heatmap.columns),
        "rows_of": heatmap.rows_of,
        "edges_ns": _edges(heatmap),
        "unit": heatmap.unit,
        "counts": sparse,
        "total": heatmap.total,
    }
    return json.dumps(data, separators=(",", ":"))


def _row_axis(heatmap: Heatmap, cell_height: int, width: int) -> list[str]:
    """Label latencies or offsets at round values."""
    edges = _edges(heatmap)
    lines: list[str] = []
    for value, is_major in _marks(heatmap, edges, cell_height):
        y = cell_height * (len(edges) - 1 - float(np.interp(value, edges, np.arange(len(edges)))))
        lines.append(f'<path class="rule" d="M-5 {y:.1f}H0" stroke="#bbb"/>')
        if is_major:
            lines.append(f'<path class="rule" d="M0 {y:.1f}H{width}" stroke="#bbb" stroke-opacity=".4"/>')
        lines.append(label(-9, y + 4, round_duration(value) if heatmap.unit else count(value), "end"))
    return lines


def _marks(heatmap: Heatmap, edges: list[int], cell_height: int) -> Iterator[tuple[int, bool]]:
    """Yield the values to label, and whether a line runs from them across the map.

    Offsets: about ten. Latencies: each decade, and 2 and 5 between where there is room.
    """
    if not edges:
        return
    if heatmap.rows_of == "offset":
        step = round_step(edges[-1] / 10)
        yield from ((value, value % (5 * step) == 0) for value in range(0, edges[-1] + 1, step))
        return
    if edges[0] == 0:
        yield 0, False
    scaled = [edge for edge in edges if edge]
    room = cell_height * ROWS_PER_DECADE * 0.3 >= 14
    for decade in range(len(str(scaled[0])) - 1, len(str(scaled[-1]))):
        for step in (1, 2, 5) if room else (1,):
            if scaled[0] <= step * 10**decade <= scaled[-1]:
                yield step * 10**decade, step == 1


def _beside(heatmap: Heatmap, cell_height: int, corner: tuple[int, int]) -> Iterator[str]:
    """Draw the histogram of all that the map shows: a bar for each row, and the words for it under the pointer."""
    shown, edges, sums = duration if heatmap.unit else count, _edges(heatmap), heatmap.counts.sum(axis=1).tolist()
    most = max(sums, default=0)
    yield f'<g class="sums" transform="translate({corner[0]},{corner[1]})">'
    for row, number in enumerate(sums):
        y, words = cell_height * (len(sums) - 1 - row), f"{shown(edges[row])} – {shown(edges[row + 1])}: {count(number)}"
        if number:
            bar = f'y="{y}" width="{max(BESIDE * number / most, 0.5):.1f}" height="{cell_height - 1}" fill="#5b5bd0"'
            yield f"<rect {bar}><title>{words} ({percent(number, heatmap.total)})</title></rect>"
    if most:
        below = cell_height * len(sums) + 16
        yield from (label(0, below, "0", "start"), label(BESIDE, below, count(most), "end"))
    yield "</g>"


def _legend(most: int, y: int) -> list[str]:
    """Show the shades with the counts that they stand for."""
    if not most:
        return []
    size, left = 14, LEFT + 52
    swatches = [label(LEFT, y + 10, "count", "start")]
    for level in range(LEVELS + 1):
        colour, opacity = heat_colour(level / LEVELS)
        place = f'x="{left + level * size}" y="{y}" width="{size}" height="12"'
        swatches.append(f'<rect {place} fill="{colour}" fill-opacity="{opacity:g}"/>')
    width = size * (LEVELS + 1)
    swatches.append(f'<rect class="rule" x="{left}" y="{y}" width="{width}" height="12" fill="none" stroke="#bbb"/>')
    marks = dict.fromkeys([0, max(1, most // 16), max(1, most // 4), most])
    for mark in marks:
        x = left + size / 2 + (width - size) * math.sqrt(mark / most)
        swatches.append(label(x, y - 4, count(mark)))
    return swatches


def _description(heatmap: Heatmap) -> str:
    edges = _edges(heatmap)
    if not heatmap.total:
        return "Heat map: nothing to show."
    if heatmap.rows_of == "offset":
        return (
            f"Heat map of {count(heatmap.total)} moments. Every {duration(heatmap.column_ns)} is a column, "
            "and the offset within it runs up; darker red is more."
        )
    if not heatmap.unit:
        return f"Heat map of {count(heatmap.total)} values from {count(edges[0])} to {count(edges[-1])}."
    return (
        f"Heat map of {count(heatmap.total)} latencies from {duration(edges[0])} to {duration(edges[-1])}. "
        "Time runs across, latency up; darker red is more."
    )
