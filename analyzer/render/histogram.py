"""Histograms as text, in the form that biolatency and its relatives print, with exact figures under each."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from offwake.analyzer.histogram import VALUE, Histogram, Histograms, bounds
from offwake.analyzer.render.text import count, duration, printable

__all__ = ["text_histogram"]

STARS = 40
NARROW_BUCKETS = 32


def text_histogram(found: Histograms, started: str | None = None) -> str:
    """Return histograms as text. `started` is when the recording began (ISO 8601): each interval stands under its time."""
    lines: list[str] = []
    of_interval: dict[int, list[Histogram]] = {}
    for one in found.found:
        of_interval.setdefault(one.start_ns, []).append(one)
    for start_ns in found.starts_ns:
        if found.interval_ns is not None and started is not None:
            lines += [_clock(started, start_ns, found.interval_ns), ""]
        for one in of_interval.get(start_ns, ()):
            lines += [*_lines(one, found.unit), ""]
    return "\n".join(lines or ["nothing to show", ""])


def _clock(started: str, start_ns: int, interval_ns: int) -> str:
    begin = datetime.fromisoformat(started).astimezone(UTC) + timedelta(microseconds=start_ns // 1000)
    return f"{begin:%H:%M:%S} UTC, {start_ns / 1e9:.12g} s – {(start_ns + interval_ns) / 1e9:.12g} s"


def _lines(one: Histogram, unit: str) -> Iterator[str]:
    if one.by:
        yield printable(", ".join(f"{name} = {text}" for name, text in one.by.items()))
    narrow = len(one.counts) <= NARROW_BUCKETS
    margin, wide, width = (5, 19, 10) if narrow else (15, 29, 20)
    yield f"{'':{margin}}{unit:<{wide}} : count    distribution"
    most = max(one.counts)
    for (low, end), number in zip(bounds(len(one.counts)), one.counts, strict=True):
        stars = "*" * (STARS * number // most)
        yield f"{low:>{width}} -> {end - 1:<{width}} : {number:<8} |{stars:<{STARS}}|"
    shown = count if unit == VALUE else duration
    figures = {"p50": one.p50_ns, "p99": one.p99_ns, "max": one.max_ns}
    known = [f", {name} {shown(value)}" for name, value in figures.items() if value is not None]
    yield f"{'':{margin}}{count(one.count)} in all{''.join(known)}"
