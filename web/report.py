"""A report: the main pictures and tables of a recording in one HTML file that opens from disk, without any request.

Each picture lives in a frame of its own, so that it has its own keys, zoom and search. The file's content security policy
allows its own scripts and styles, by their hashes, and nothing else: names in it cannot become anything but text.
"""

import base64
import hashlib
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from offwake.analyzer import query
from offwake.analyzer.completeness import remarks
from offwake.analyzer.explain import explain
from offwake.analyzer.options import chosen, words
from offwake.analyzer.recording import Recording
from offwake.analyzer.render import flamegraph, heatmap, overview, svg
from offwake.analyzer.render.idle import idle_sections
from offwake.analyzer.render.sections import Line, Section
from offwake.analyzer.render.summary import summary_sections
from offwake.analyzer.render.table import heading
from offwake.analyzer.render.tree import FrameTree
from offwake.analyzer.select import Selection
from offwake.analyzer.summary import summarize
from offwake.web.app import create_app

__all__ = ["report"]

VIEWS = ("off-wake", "chain", "off-cpu", "run-queue", "on-cpu")
HEATMAPS = ("off-cpu", "run-queue", "block-io")
TABLES = ("threads", "waits-for", "block-io", "tcp-sessions")
ROWS_AT_MOST = 100
STYLE = Path(__file__).parent / "static" / "page.css"
SCRIPTS = {
    "flame": f"{svg.resource('flamegraph.js')}\nflameGraph(document.querySelector('svg'), null);\n",
    "heat": f"{svg.resource('heatmap.js')}\nheatMap(document.querySelector('svg'), null);\n",
}
PICTURE_STYLE = f"{svg.resource('picture.css')}\nbody {{ margin: 0; }}\n"


@dataclass(frozen=True)
class _Picture:
    """A picture in a frame: its title, its document (escaped), how high that is in pixels, and the command that draws it."""

    title: str
    page: Markup
    height: int
    command: str


def report(recording: Recording, file: Path, selection: Selection) -> str:
    """Return the report on what is selected of a recording."""
    style, name = STYLE.read_text(encoding="utf-8"), shlex.quote(file.name)
    tables = {of: query.table(recording, of, selection) for of in TABLES if not query.lacks(recording, of)}
    scope = words(selection)
    template = create_app([]).jinja_env.get_template("report.html")
    return template.render(
        policy=_policy([*SCRIPTS.values()], [style, PICTURE_STYLE]),
        style=Markup(style),
        info=recording.info(),
        file=file.name,
        chosen=chosen(selection),
        sections=_said(summary_sections(summarize(recording, selection), name)),
        idle=_said(idle_sections(explain(recording, selection), selection)),
        timeline=Markup(overview.draw(query.overview(recording))),
        pictures=[*_flame_graphs(recording, file, selection), *_heat_maps(recording, file, selection)],
        tables=[
            (of, query.TABLES[of], [(column, heading(column)) for column in table.columns], table.rows[:ROWS_AT_MOST])
            + (len(table.rows), shlex.join(["offwake", "table", file.name, "--of", of, *scope]))
            for of, table in tables.items()
            if table.rows
        ],
        command=shlex.join(["offwake", "report", file.name, *scope, "-o", "report.html"]),
    )


def _said(sections: Iterable[Section]) -> list[tuple[str, list[tuple[Line, None]]]]:
    """Return sections as the template takes them: without links."""
    return [(section.title, [(line, None) for line in section.lines]) for section in sections]


def _flame_graphs(recording: Recording, file: Path, selection: Selection) -> Iterator[_Picture]:
    for view in VIEWS:
        if query.lacks(recording, view):
            continue
        profile = query.profile(recording, view, selection)
        if len(profile):
            about = [*remarks(profile), *chosen(selection)]
            caption = svg.caption(f"{view}: {query.VIEWS[view]}", recording.info(), about)
            picture = flamegraph.draw(FrameTree(profile), caption, flamegraph.FlameOptions())
            command = ["offwake", "flamegraph", file.name, "--view", view, *words(selection), "-o", f"{view}.svg"]
            yield _framed(view, "flame", picture, shlex.join(command))


def _heat_maps(recording: Recording, file: Path, selection: Selection) -> Iterator[_Picture]:
    for of in HEATMAPS:
        if query.lacks(recording, of):
            continue
        found = query.heatmap(recording, of, selection)
        if found.total:
            title = f"{heatmap.title(found)}: {query.HEATMAPS[of]}"
            picture = heatmap.draw(found, svg.caption(title, recording.info(), [*remarks(found), *chosen(selection)]))
            command = ["offwake", "heatmap", file.name, "--of", of, *words(selection), "-o", f"{of}.svg"]
            yield _framed(heatmap.title(found), "heat", picture, shlex.join(command))


def _framed(title: str, kind: str, picture: str, command: str) -> _Picture:
    """Put a picture into a document with its script."""
    height = re.search(r' height="(\d+)"', picture)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{svg.escape(title)}</title>'
        f"<style>{PICTURE_STYLE}</style></head><body>{picture}<script>{SCRIPTS[kind]}</script></body></html>"
    )
    quoted = page.replace("&", "&amp;").replace("'", "&#39;")  # for an attribute between ', as pictures are full of "
    return _Picture(title, Markup(quoted), int(height[1]) if height else 600, command)


def _policy(scripts: list[str], styles: list[str]) -> str:
    allowed = {"script-src": scripts, "style-src": styles}
    hashes = {what: " ".join(f"'sha256-{_hash(text)}'" for text in texts) for what, texts in allowed.items()}
    rest = "; ".join(f"{what} {known}" for what, known in hashes.items())
    return f"default-src 'none'; {rest}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
