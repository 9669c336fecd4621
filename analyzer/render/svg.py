"""SVG: what all pictures share. A picture has a caption above it, and its own script and style when it is a file.

Only presentation attributes are used, so a page with a strict content security policy can hold a picture as it is; the
style sheet beside this module adds the dark theme and the marks under the pointer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import Any

from offwake.analyzer.completeness import completeness, wholeness
from offwake.analyzer.render.text import count, duration, printable

__all__ = [
    "FONT",
    "HERE",
    "Caption",
    "Head",
    "caption",
    "cut",
    "document",
    "escape",
    "head",
    "legend",
    "opening",
    "resource",
]

HERE = Path(__file__).parent
FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
CHARACTER_PX = 0.603
"""Width of a character of these fonts, as a share of the font's size."""
MARGIN = 10
LINE = 16
SEPARATOR, NBSP = " · ", "\u00a0"
LINES_AT_MOST = 3
"""A subtitle or a notice that needs more is cut off."""


@dataclass(frozen=True)
class Caption:
    """What stands above a picture: what it shows, of which recording, and what the reader must know to trust it."""

    title: str
    subtitle: str = ""
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Head:
    """A drawn caption: its SVG, and how many pixels it takes from the top."""

    svg: str
    height: int


def caption(title: str, info: dict[str, Any], about: Iterable[str] = ()) -> Caption:
    """Caption a picture of a recording (its `info()`): host, length, events, how complete it is, and what else is said."""
    facts = [info["host"], duration(info["duration_ns"]), f"{count(info['events'])} events", completeness(info)]
    parts = [*facts, *wholeness(info), *about]
    return Caption(title, SEPARATOR.join(parts), tuple(info["verdict"]))


def escape(text: str) -> str:
    """Make text safe in XML and HTML, as content and inside double quotes."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;")
    return text.replace(">", "&gt;").replace('"', "&quot;").replace("'", "&#39;")


def cut(text: str, width_px: float, font_px: int) -> str:
    """Return the text if it fits, else its beginning and `..`, or nothing where not even three characters fit."""
    characters = int(width_px / (font_px * CHARACTER_PX))
    if len(text) <= characters:
        return text
    return text[: characters - 2] + ".." if characters >= 3 else ""


def opening(kind: str, width: int, height: int, about: tuple[str, str, str]) -> str:
    """Begin a picture; `about` is its name, a description for those who cannot see it, and the script's data, if any."""
    name, description, data = about
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="picture {kind}" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{FONT}" font-size="12">\n<title>{escape(name)}</title>\n'
        f"<desc>{escape(description)}</desc>\n" + (f"<metadata>{escape(data)}</metadata>" if data else "")
    )


def head(shown: Caption, width: int) -> Head:
    """Draw a caption: the title, the subtitle, then the notices, in as many lines as they need."""
    lines = [f'<text x="{MARGIN}" y="24" font-size="16" font-weight="bold" class="ink">{escape(shown.title)}</text>']
    y = 24
    for text, fill, name in [
        (_kept_together(shown.subtitle), "#555", "faint"),
        *((f"⚠ {notice}", "#a33c00", "warn") for notice in shown.notices),
    ]:
        for line in wrap(printable(text), int((width - 2 * MARGIN) / (12 * CHARACTER_PX)), max_lines=LINES_AT_MOST):
            y += LINE + 2
            lines.append(
                f'<text x="{MARGIN}" y="{y}" fill="{fill}" class="{name}">{escape(line.replace(NBSP, " "))}</text>'
            )
    return Head("\n".join(lines), y + 10)


def legend(above: Head, colours: Iterable[tuple[str, str]], width: int) -> Head:
    """Draw what colours mean below a caption, in as many lines as they need; `colours` are pairs of colour and words."""
    parts, x, y = [above.svg], MARGIN, above.height + 2
    for colour, words in colours:
        needed = 12 + 6 + round(len(words) * 12 * CHARACTER_PX) + 18
        if x > MARGIN and x + needed > width - MARGIN:
            x, y = MARGIN, y + LINE + 2
        parts.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="{y + 10}" fill="#555" class="faint">{escape(words)}</text>')
        x += needed
    return Head("\n".join(parts), y + LINE + 6)


def _kept_together(subtitle: str) -> str:
    """Let a subtitle break between its parts only."""
    return SEPARATOR.join(part.replace(" ", NBSP) for part in subtitle.split(SEPARATOR))


def document(picture: str, script: str = "") -> str:
    """Make a picture (`<svg …>…</svg>`) a file of its own, with its script, if any, and style inside."""
    style = f"<style><![CDATA[\n{resource('picture.css')}]]></style>"
    code = f"<script><![CDATA[\n{resource(script)}]]></script>" if script else ""
    body = picture.removesuffix("</svg>")
    return f'<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n{body}{style}\n{code}\n</svg>\n'


@cache
def resource(name: str) -> str:
    """Return the text of a file beside this module."""
    return (HERE / name).read_text(encoding="utf-8")
