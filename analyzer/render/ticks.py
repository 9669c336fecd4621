"""Ticks: round values along the axes of heat maps and the timeline."""

import math
from collections.abc import Iterator

__all__ = ["label", "round_duration", "round_step", "time_axis"]


def time_axis(time: tuple[int, int], width: int, height: int) -> Iterator[str]:
    """Draw about ten round times along the lower edge of a plot, whose width is a time: its start and length (ns)."""
    begin_ns, span_ns = time
    if not span_ns:
        return
    step = round_step(span_ns / 10)
    for time_ns in range(-(-begin_ns // step) * step, begin_ns + span_ns + 1, step):
        x = width * (time_ns - begin_ns) / span_ns
        anchor = "end" if x > width - 20 else "middle"
        yield f'<path class="rule" d="M{x:.1f} {height}v5" stroke="#bbb"/>'
        yield label(x, height + 19, round_duration(time_ns), anchor)


def label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    """Return a faint text beside an axis."""
    return f'<text class="faint" x="{x:.1f}" y="{y:.1f}" fill="#555" text-anchor="{anchor}">{text}</text>'


def round_step(least: float) -> int:
    """Return the smallest 1, 2 or 5 × 10ⁿ that is not below `least`."""
    power = int(10 ** max(0, math.floor(math.log10(max(least, 1)))))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least or step == 10)


def round_duration(ns: int) -> str:
    """Format a round number of nanoseconds without needless digits: `10 ms`, `2.5 s`."""
    for size, unit in ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")):
        if ns >= size:
            return f"{ns / size:,.12g} {unit}"
    return f"{ns} ns" if ns else "0 s"
