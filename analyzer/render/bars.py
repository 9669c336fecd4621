"""Histograms as SVG: a panel for each, a bar for each bucket, all on one scale, so that panels can be compared."""

from offwake.analyzer.histogram import VALUE, Histogram, Histograms, bounds
from offwake.analyzer.render.svg import MARGIN, Caption, document, escape, head, opening
from offwake.analyzer.render.text import count, duration, printable

__all__ = ["bar_chart"]

WIDTH, ROW, LABELS, COUNTS, GAP = 800, 16, 170, 90, 14


def bar_chart(found: Histograms, caption: Caption) -> str:
    """Return histograms as an SVG file, in the order of time and labels."""
    header = head(caption, WIDTH)
    most = max((max(one.counts) for one in found.found), default=1)
    panels, y = [], header.height
    for one in found.found:
        panels.append(f'<g transform="translate({MARGIN},{y})">{_panel(one, found, most)}</g>')
        y += (len(one.counts) - _first(one) + 1) * ROW + GAP
    shown = panels or [f'<text class="ink" x="{MARGIN}" y="{y + ROW}">nothing to show</text>']
    about = f"{len(found.found)} histograms of {count(found.total)} in all; a bar is a bucket, as long as many are in it."
    picture = [
        opening("bars", WIDTH, y + ROW + MARGIN, (f"{caption.title}, {caption.subtitle}", about, "{}")),
        '<rect class="paper" width="100%" height="100%" fill="#fff"/>',
        header.svg,
        *shown,
        "</svg>",
    ]
    return document("\n".join(picture))


def _first(one: Histogram) -> int:
    """Return the first bucket with anything in it: those before it are left out."""
    return next(bucket for bucket, number in enumerate(one.counts) if number)


def _panel(one: Histogram, found: Histograms, most: int) -> str:
    words = [f"{name} = {text}" for name, text in one.by.items()]
    if found.interval_ns is not None:
        words.insert(0, f"{duration(one.start_ns)} – {duration(one.start_ns + found.interval_ns)}")
    title = ", ".join(words) or found.of
    lines = [f'<text class="ink" y="12" font-weight="bold">{escape(printable(title))}: {count(one.count)}</text>']
    shown = count if found.unit == VALUE else duration
    room = WIDTH - 2 * MARGIN - LABELS - COUNTS
    first = _first(one)
    for bucket, (low, end) in enumerate(bounds(len(one.counts))[first:], first):
        y, number = (bucket - first + 1) * ROW, one.counts[bucket]
        label = f"{shown(low * found.unit_ns)} – {shown(end * found.unit_ns)}"
        width = room * number / most
        lines += [
            f'<text class="faint" x="{LABELS - 8}" y="{y + 12}" text-anchor="end" fill="#555">{label}</text>',
            f'<rect x="{LABELS}" y="{y + 2}" width="{width:.1f}" height="{ROW - 4}" fill="#d94701"/>',
            f'<text class="ink" x="{LABELS + width + 6:.1f}" y="{y + 12}">{count(number)}</text>',
        ]
    return "\n".join(lines)
