"""Comparing: two recordings, or two times of one, chosen in the list; what changed in words, and as a flame graph."""

import json
from dataclasses import dataclass

from flask import Blueprint, Response, abort, render_template, request

from offwake.analyzer import query
from offwake.analyzer.changes import amount, chance
from offwake.analyzer.compare_options import COMPARE, How, named, parse_how, sides
from offwake.analyzer.render import difference
from offwake.analyzer.render.documents import comparison_document
from offwake.analyzer.render.svg import SEPARATOR, Caption
from offwake.analyzer.select import Selection
from offwake.analyzer.unlike import unlike
from offwake.web.asks import SELECTION_FIELDS, VIEW_FIELDS, Ask, given, parse_ask, parse_selection
from offwake.web.downloads import send
from offwake.web.library import Compared, Entry
from offwake.web.pages import FIRST_VIEW, flame_graph, library, readable, view_there

__all__ = ["comparing"]

ROWS_AT_MOST = 50
FIELDS = tuple(option.name for option in COMPARE)
KEPT = ("first", "second", "view", "icicle", "flame", *FIELDS, *SELECTION_FIELDS, *VIEW_FIELDS)
"""Fields of an address that say what is compared."""
comparing = Blueprint("comparing", __name__)


@dataclass(frozen=True)
class _Comparison:
    """What an address asks for, and what was found."""

    entries: tuple[Entry, Entry]
    view: str
    selection: Selection
    how: How
    ask: Ask
    found: Compared

    @property
    def caption(self) -> Caption:
        """What stands above the picture."""
        words = self.how.words(self.selection, self.ask.options)
        about = difference.subtitle(self.found.comparison, self.how.layout, [" ".join(words)] if words else [])
        title = difference.title(self.found.comparison, named((self.entries[0].name, self.entries[1].name), self.how))
        notices = unlike(self.found.comparison, *map(library().info, self.entries))
        return Caption(title, SEPARATOR.join(about), tuple(notices))

    @property
    def command(self) -> str:
        """The command that makes the picture."""
        files = [entry.argument for entry in dict.fromkeys(self.entries)]
        return " ".join([self.how.command(files, self.view, self.selection, self.ask.options), *self.ask.way_up])


@comparing.get("/compare")
def compare() -> str:
    """Show what changed, in words and as a picture; without two recordings, only what there is to choose from."""
    listed = [library().listed(entry) for entry in library().entries()]
    choices = [(item.entry.id, item.entry.name) for item in listed if item.info]
    if not (request.args.get("first") and (request.args.get("second") or request.args.get("after"))):
        return render_template("compare.html", asked=None, choices=choices)
    asked = _asked()
    tree, told = asked.found.tree(asked.how.layout), [row for row in asked.found.changes if row.stands_out]
    kept = {name: text for name, text in request.args.items() if name in KEPT and text}
    return render_template(
        "compare.html",
        asked=asked,
        views=[name for name in query.COMPARABLE if view_there(name, *asked.entries) == name],
        picture=flame_graph(tree, asked.caption, asked.ask, difference.Shades(asked.found.comparison)),
        rows=told[:ROWS_AT_MOST],
        more=len(told) - ROWS_AT_MOST,
        quiet=len(asked.found.changes) - len(told),
        amount=lambda value_ns: amount(value_ns, asked.how.normalize),
        ratio=difference.ratio,
        chance=chance,
        kept=kept,
        options=query.OPTIONS[asked.view],
        choices=choices,
    )


@comparing.get("/compare.<any(svg, folded, json):form>")
def download(form: str) -> Response:
    """Send a comparison as a file."""
    asked = _asked()
    name, compared = f"diff-{asked.view}.{form}", asked.found.comparison
    if form == "svg":
        picture = difference.difference_graph(compared, asked.how.layout, asked.caption, asked.ask.icicle)
        return send(asked.entries[0], name, picture)
    if form == "folded":
        return send(asked.entries[0], name, difference.folded_twice(compared))
    document = comparison_document(compared, asked.found.changes) | {"notices": asked.caption.notices}
    return send(asked.entries[0], name, json.dumps(document))


def _asked() -> _Comparison:
    """Read the address, and compare. Answers 404 where there is no such recording or view."""
    first = readable(request.args.get("first", ""))
    second = readable(request.args.get("second") or first.id)
    view = request.args.get("view") or view_there(FIRST_VIEW, first, second)
    if view not in query.VIEWS:
        abort(404, f"There is no view “{view}”. Known are: {', '.join(query.VIEWS)}.")
    how, selection = parse_how(given(request.args, FIELDS)), parse_selection(request.args)
    ask = parse_ask(view, request.args)
    selections = sides(how, selection, first == second)
    found = library().compared(((first, selections[0]), (second, selections[1])), view, ask.options, how.normalize)
    return _Comparison((first, second), view, selection, how, ask, found)

