"""In words and in buckets: the summary, what is idle and why, and histograms, each with the stacks that it is about."""

import json
import shlex
from typing import Any

from flask import Blueprint, Response, abort, request

from offwake.analyzer import query
from offwake.analyzer.completeness import open_waits, remarks
from offwake.analyzer.histogram import VALUE, Buckets, Histogram, Histograms, bounds
from offwake.analyzer.options import address, chosen
from offwake.analyzer.render.bars import bar_chart
from offwake.analyzer.render.documents import histogram_document, idle_document, trust
from offwake.analyzer.render.histogram import text_histogram
from offwake.analyzer.render.idle import idle_sections
from offwake.analyzer.render.sections import Opens, Section, text_lines
from offwake.analyzer.render.summary import summary_sections
from offwake.analyzer.render.svg import caption
from offwake.analyzer.render.text import count, duration
from offwake.analyzer.select import Selection
from offwake.web.asks import command_line, parse_selection
from offwake.web.downloads import send
from offwake.web.library import Entry
from offwake.web.pages import FIRST_VIEW, entry_or_404, library, link, page, view_there
from offwake.web.rows import OPENS, bucket_rows, labelled

__all__ = ["words"]

HISTOGRAMS_AT_MOST = 20
FORMS = {"summary": ("txt",), "idle": ("txt", "json")}
words = Blueprint("words", __name__)


@words.get("/recording/<entry_id>/words/<name>")
def words_page(entry_id: str, name: str) -> str:
    """Show the summary, or what is idle and why."""
    entry, selection = entry_or_404(entry_id, "words", name), parse_selection(request.args)
    return page(
        ("words.html", entry, "words", name),
        sections=[(one.title, [(line, _opened(entry, line.opens)) for line in one.lines]) for one in _said(entry, name)],
        command=command_line([name, entry.argument], selection),
        forms=FORMS[name],
    )


@words.get("/recording/<entry_id>/words/<name>.<any(txt, json):form>")
def words_file(entry_id: str, name: str, form: str) -> Response:
    """Send the summary, or what is idle and why."""
    entry = entry_or_404(entry_id, "words", name)
    if form not in FORMS[name]:
        abort(404, f"There is no {form} of {name}.")
    if form == "json":
        return send(entry, f"{name}.json", json.dumps(idle_document(library().idle(entry, parse_selection(request.args)))))
    return send(entry, f"{name}.txt", "\n".join([*text_lines(_said(entry, name)), ""]))


@words.get("/recording/<entry_id>/histogram/<name>")
def histogram_page(entry_id: str, name: str) -> str:
    """Show histograms: bucket by bucket, each with its stacks."""
    entry, selection = entry_or_404(entry_id, "histogram", name), parse_selection(request.args)
    found, each = _histograms(entry, name, selection), request.args.get("each", "")
    return page(
        ("histogram.html", entry, "histogram", name),
        histograms=[(one, _buckets(found, one)) for one in found.found[:HISTOGRAMS_AT_MOST]],
        found=len(found.found),
        choices=[("", "all"), *((field, field.replace("_", " ")) for field in query.labels(name))],
        opens=view_there(OPENS.get(name, FIRST_VIEW), entry),
        timed=found.unit != VALUE,
        shown=count if found.unit == VALUE else duration,
        hidden_ns=found.hidden_ns,
        notices=open_waits(found),
        nothing="" if found.total else library().why_nothing(entry, name, selection),
        command=command_line(["histogram", entry.argument, "--of", name, *(["--by", each] if each else [])], selection),
        forms=("svg", "txt", "json"),
    )


@words.get("/recording/<entry_id>/histogram/<name>.<any(txt, svg, json):form>")
def histogram_file(entry_id: str, name: str, form: str) -> Response:
    """Send histograms, all of them."""
    entry = entry_or_404(entry_id, "histogram", name)
    selection, info = parse_selection(request.args), library().info(entry)
    found = _histograms(entry, name, selection)
    if form == "txt":
        return send(entry, f"{name}.txt", text_histogram(found))
    if form == "svg":
        title = f"{name}: {query.HISTOGRAMS.get(name, 'numbers')}"
        return send(entry, f"{name}.svg", bar_chart(found, caption(title, info, [*remarks(found), *chosen(selection)])))
    return send(entry, f"{name}.json", json.dumps(histogram_document(found) | trust(info)))


def _said(entry: Entry, name: str) -> list[Section]:
    selection = parse_selection(request.args)
    if name == "idle":
        return list(idle_sections(library().idle(entry, selection), selection))
    return list(summary_sections(library().summary(entry, selection), shlex.quote(entry.argument)))


def _opened(entry: Entry, opens: Opens | None) -> str | None:
    """Return the address of a line's stacks."""
    if opens is None:
        return None
    return link("pages.flame", (), entry_id=entry.id, name=view_there(opens.view, entry), **address(opens.selection))


def _histograms(entry: Entry, name: str, selection: Selection) -> Histograms:
    each = request.args.get("each", "")
    return library().histograms(entry, name, selection, Buckets((each,) if each else ()))


def _buckets(found: Histograms, one: Histogram) -> list[dict[str, Any]]:
    rows = bucket_rows([(low * found.unit_ns, end * found.unit_ns) for low, end in bounds(len(one.counts))], one.counts)
    nowhere = found.unit == VALUE or (found.of, one.by) == ("off-cpu", {"state": "R"})  # no time, or no waits of off-wake
    chosen = None if nowhere else labelled(one.by)
    return [row | {"fields": None if chosen is None else row["fields"] | chosen} for row in rows]
