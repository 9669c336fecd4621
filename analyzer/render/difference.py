"""Pictures and texts of a comparison: the flame graph's colours and words, two columns of folded stacks, a ranked table.

Red is more and blue less, the deeper the larger the part that changed; yellow is new; what cannot be told apart is grey.
"""

from collections.abc import Iterator

import numpy as np

from offwake.analyzer.changes import Change, amount, chance
from offwake.analyzer.compare import EFFECT, LEVEL, Comparison
from offwake.analyzer.profile import Profile
from offwake.analyzer.render.flamegraph import FlameOptions, draw
from offwake.analyzer.render.svg import Caption, document
from offwake.analyzer.render.text import duration, percent, printable
from offwake.analyzer.render.tree import ROOT, FrameTree, Part

__all__ = ["Shades", "difference_graph", "difference_tree", "folded_twice", "ranked", "ratio", "subtitle", "title"]

GREY, NEW = "#c3c5cb", "#ffd93b"
MORE, LESS = ((0xF9, 0xC9, 0xBF), (0xEC, 0x4B, 0x37)), ((0xC3, 0xD9, 0xF5), (0x53, 0x98, 0xE6))
DEEPEST = 0.5
"""Part of the larger of both by which it must differ to have the deepest colour: twice as much, or half."""
NORMALIZED = {"second": "per second", "share": "by share of all", "none": "not normalized"}
ROWS = 10


class Shades:
    """Colours and words for the frames of a comparison, see `flamegraph.Marks`."""

    def __init__(self, compared: Comparison) -> None:
        self._compared = compared
        self._larger_ns = np.maximum(compared.total.before_ns, compared.total.after_ns)
        level, effect = percent(LEVEL, 1, 0), percent(EFFECT, 1, 0)
        self.about = (
            "Flame graph of a difference. Red frames weigh more after than before, blue ones less, yellow ones are new, "
            f"and grey ones cannot be told apart at {level}."
        )
        self.legend: tuple[tuple[str, str], ...] = (
            (_shade(-DEEPEST), "half or less"),
            (_shade(-0.1), "10 % less"),
            (GREY, f"cannot be told apart at {level} ({compared.tested} frames tested), or less than {effect} of all"),
            (_shade(0.1), "10 % more"),
            (_shade(DEEPEST), "twice or more"),
            (NEW, "only after"),
        )

    def colour(self, frame: int) -> str:
        """Return a frame's colour."""
        total = self._compared.total
        if not total.stands_out[frame]:
            return GREY
        before_ns, after_ns = int(total.before_ns[frame]), int(total.after_ns[frame])
        return NEW if not before_ns else _shade((after_ns - before_ns) / max(before_ns, after_ns))

    def words(self, frame: int) -> str:
        """Return what a frame weighs before and after, with what is above it and by itself, and whether that stands out.

        Of what is too small to be tested in short: most frames are.
        """
        compared, parts = self._compared, []
        if self._larger_ns[frame] < compared.least_ns:
            whole = (int(figures[frame]) for figures in (compared.total.before_ns, compared.total.after_ns))
            before, after = (amount(value_ns, compared.normalize) for value_ns in whole)
            return f"{before} before, {after} after: less than {percent(EFFECT, 1, 0)} of all"
        for name, of in (("", compared.total), ("self ", compared.own)):
            before_ns, after_ns = int(of.before_ns[frame]), int(of.after_ns[frame])
            if not (name and before_ns == after_ns == 0):
                figures = [amount(value_ns, compared.normalize) for value_ns in (before_ns, after_ns)]
                changed = f"{_signed(after_ns - before_ns, compared.normalize)}, {ratio(before_ns, after_ns)}"
                stands = "stands out" if of.stands_out[frame] else "does not stand out"
                how_sure = f" ({chance(float(of.p[frame]))})" if of.p[frame] < 1 else ""
                parts.append(f"{name}{figures[0]} before, {figures[1]} after ({changed}): {stands}{how_sure}")
        return "; ".join(parts)


def difference_tree(compared: Comparison, layout: str) -> FrameTree:
    """Return the union's frames as wide as they are before, after, or for each stack the larger of both."""
    before_ns, after_ns, union = compared.before_ns, compared.after_ns, compared.union
    widths = {"before": before_ns, "after": after_ns, "both": np.maximum(before_ns, after_ns)}
    value_ns = widths[layout].tolist()
    part = Part(ROOT, union.stacks, value_ns, [False] * len(value_ns), sum(value_ns), rows=union.tree)
    return FrameTree(Profile(compared.view), part)


def difference_graph(compared: Comparison, layout: str, caption: Caption, icicle: bool | None = None) -> str:
    """Return the flame graph of a comparison as an SVG file that zooms and searches by itself in a browser."""
    options = FlameOptions(icicle=icicle, marks=Shades(compared))
    return document(draw(difference_tree(compared, layout), caption, options), "flamegraph.js")


def title(compared: Comparison, names: tuple[str, str]) -> str:
    """Name a comparison: the view, how it is normalized, and what is compared."""
    return f"{compared.view}, {NORMALIZED[compared.normalize]}: {names[0]} → {names[1]}"


def subtitle(compared: Comparison, layout: str, chosen: list[str]) -> list[str]:
    """Say how long both sides are, what they weigh in all, what widths are, and what was selected."""
    widths = {"both": "widths are the larger of both", "before": "widths are before", "after": "widths are after"}
    sides = []
    for name, side in (("before", compared.before), ("after", compared.after)):
        hidden = f", {duration(side.profile.hidden_ns)} hidden" if side.profile.hidden_ns else ""
        sides.append(f"{name} {duration(side.profile.total_ns)} in {duration(round(side.seconds * 1e9))}{hidden}")
    return [*sides, widths[layout], *chosen]


def folded_twice(compared: Comparison) -> str:
    """Return `frame;frame;… BEFORE AFTER` lines as difffolded.pl prints them, sorted, in whole microseconds.

    What is normalized is so here too: microseconds a second, or millionths of all.
    """
    columns = zip(compared.union.stacks, compared.before_ns.tolist(), compared.after_ns.tolist(), strict=True)
    return "".join(
        f"{';'.join(name.replace(';', ':') for name in stack)} {round(before_ns / 1000)} {round(after_ns / 1000)}\n"
        for stack, before_ns, after_ns in columns
    )


def ranked(compared: Comparison, rows: list[Change]) -> Iterator[str]:
    """Yield lines for a terminal: what got worse, what got better, and how much cannot be told apart."""
    normalize = compared.normalize
    told = [row for row in rows if row.stands_out]
    for heading, chosen in (
        ("What there is more of", [row for row in told if row.delta_ns > 0]),
        ("What there is less of", [row for row in told if row.delta_ns < 0]),
    ):
        yield heading
        for row in chosen[:ROWS]:
            before, after = amount(row.before_ns, normalize), amount(row.after_ns, normalize)
            yield f"  {printable(row.words)}"
            yield f"      {before} → {after}, {ratio(row.before_ns, row.after_ns)} ({chance(row.p)})"
        if not chosen:
            yield "  nothing that stands out"
        elif len(chosen) > ROWS:
            yield f"  … and {len(chosen) - ROWS} more"
        yield ""
    quiet = [row for row in rows if not row.stands_out]
    if quiet:
        largest = amount(max(abs(row.delta_ns) for row in quiet), normalize)
        yield (
            f"{len(quiet)} more cannot be told apart at {percent(LEVEL, 1, 0)}, or differ by less than "
            f"{percent(EFFECT, 1, 0)} of all; the largest differs by {largest}."
        )


def ratio(before_ns: int, after_ns: int) -> str:
    """Say how much more or less something is: `+27 %`, `new`, `gone`."""
    if before_ns == after_ns:
        return "the same"
    if not before_ns or not after_ns:
        return "gone" if before_ns else "new"
    return f"{100 * (after_ns - before_ns) / before_ns:+.0f} %"


def _signed(value_ns: int, normalize: str) -> str:
    return f"{'+' if value_ns > 0 else '−' if value_ns < 0 else '±'}{amount(abs(value_ns), normalize)}"


def _shade(change: float) -> str:
    """Return the colour of a change, as a part of the larger of both."""
    pale, deep = MORE if change > 0 else LESS
    depth = min(abs(change) / DEEPEST, 1)
    return "#" + "".join(f"{round(a + (b - a) * depth):02x}" for a, b in zip(pale, deep, strict=True))
