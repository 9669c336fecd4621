"""Pages: the list of recordings, and one recording's flame graphs, heat maps and tables."""

from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, current_app, redirect, render_template, request, send_from_directory, url_for
from markupsafe import Markup
from werkzeug.exceptions import abort
from werkzeug.wrappers import Response as AnyResponse

from offwake.analyzer import query
from offwake.analyzer.completeness import open_waits, remarks
from offwake.analyzer.heatmap import Heatmap
from offwake.analyzer.options import chosen
from offwake.analyzer.render import flamegraph, heatmap, overview, svg
from offwake.analyzer.render.frames import frame_table
from offwake.analyzer.render.table import heading
from offwake.analyzer.render.text import count, duration
from offwake.analyzer.render.tree import FrameTree
from offwake.analyzer.search import matching_names
from offwake.analyzer.select import Selection
from offwake.analyzer.tables import Table
from offwake.errors import UsageError
from offwake.web.asks import SELECTION_FIELDS, VIEW_FIELDS, Ask, command_line, parse_ask, parse_selection, whole_number
from offwake.web.library import ENTRIES_AT_MOST, Entry, Library, Stacks
from offwake.web.rows import OPENS, bucket_rows, row_stacks

__all__ = ["entry_or_404", "flame_caption", "flame_graph", "heat_caption", "library", "link", "page", "pages"]
__all__ += ["readable", "region_left_out", "view_there"]

ROWS_AT_MOST = 500
FRAMES_AT_MOST = 50
FRAMES_DRAWN = 2000  # fewer than in a file: a browser shows them while one waits, and a zoom brings those left out
FIRST_VIEW = "off-wake"
KINDS = {
    "words": {
        "summary": "who waited, on what, woken by whom; run queue, block I/O, TCP; what to look at next",
        "idle": "which waits pictures leave out as idle, and why; which not, and what came nearest",
    },
    "flame": query.VIEWS,
    "heatmap": query.HEATMAPS,
    "histogram": query.HISTOGRAMS,
    "table": query.TABLES,
}
REGION = ("from", "to", "min_us", "max_us")
AROUND = tuple(f"around_{name}" for name in REGION)
"""What a heat map showed when a region of it was picked; that of an offset map is of time alone."""
DOWNLOADS = {"words": "words.words_file", "histogram": "words.histogram_file"}
DOWNLOADS |= {kind: f"downloads.{kind}" for kind in ("flame", "heatmap", "table")}
CARRIED = (*SELECTION_FIELDS, *VIEW_FIELDS, *AROUND)
"""Fields of an address that hold for the other pages of a recording too."""
pages = Blueprint("pages", __name__)


def library() -> Library:
    """Return the application's recordings."""
    shared: Library = current_app.extensions["library"]
    return shared


def entry_or_404(entry_id: str, kind: str, name: str) -> Entry:
    """Return the recording with this id; answer 404 if there is none, or no such view, heat map or table."""
    entry = readable(entry_id)
    of_field = kind not in ("words", "flame") and name.startswith(query.OF_FIELDS) and name not in query.OF_FIELDS
    if name not in KINDS[kind] and not of_field:
        abort(404, f"There is no {kind} “{name}”. Known are: {', '.join(KINDS[kind])}.")
    return entry


def readable(entry_id: str) -> Entry:
    """Return the recording with this id; answer 404 if there is none, and why if it cannot be read."""
    entry = library().find(entry_id)
    if entry is None:
        abort(404, "There is no such recording: it was moved or deleted. The list shows those that are there.")
    library().info(entry)
    return entry


def carried(from_kind: str, timed: bool, to_kind: str) -> tuple[str, ...]:
    """Return the fields of an address that hold for another page: a text in a row is no frame, bytes are no latency."""
    left_out = {"grep"} if (from_kind == "table") != (to_kind == "table") else set()
    left_out |= set() if timed else {*REGION[2:], *AROUND[2:]}
    return tuple(name for name in CARRIED if name not in left_out)


def view_there(view: str, *entries: Entry) -> str:
    """Return the view that links open: this one, or the first that recordings have something for where they lack it."""
    lacking = {name for entry in entries for name in library().lacking(entry)}
    return next((name for name in (view, *query.VIEWS) if name not in lacking), view)


def link(endpoint: str, keep: tuple[str, ...] = CARRIED, **values: Any) -> str:
    """Return a link that carries along what the page selects."""
    kept = {name: value for name, value in request.args.items() if name in keep}
    return url_for(endpoint, **{name: value for name, value in (kept | values).items() if value or value == 0})


def _all_time() -> str:
    """Return the address of this page without its time, and without the region of a heat map that the time is part of."""
    asked, left_out = request.args.to_dict(), ("from", "to", *AROUND)
    if asked.pop("ended", ""):
        asked |= {name: asked.get(f"around_{name}", "") for name in REGION}
    return f"{request.path}?{urlencode({name: value for name, value in asked.items() if value and name not in left_out})}"


def region_left_out() -> Selection:
    """Return what a heat map shows: the selection, but for a region all of what it was picked from, see AROUND."""
    selection = parse_selection(request.args)
    if not selection.ended:
        return selection
    around = parse_selection({name.removeprefix("around_"): request.args.get(name, "") for name in AROUND})
    shown = replace(selection, begin_ns=around.begin_ns, end_ns=around.end_ns, ended=False)
    return shown if request.args.get("offset") else replace(shown, min_ns=around.min_ns, max_ns=around.max_ns)


def flame_caption(entry: Entry, stacks: Stacks, chosen: list[str]) -> svg.Caption:
    """Caption a flame graph of a recording, with what is missing from it, and what was chosen."""
    title = f"{stacks.profile.view}: {query.VIEWS[stacks.profile.view]}"
    return svg.caption(title, library().info(entry), [*stacks.remarks, *chosen])


def heat_caption(entry: Entry, shown: Heatmap, chosen: list[str]) -> svg.Caption:
    """Caption a heat map of a recording, with what is missing from it, and what was chosen."""
    title = f"{heatmap.title(shown)}: {query.HEATMAPS.get(shown.of, 'a number of traced events, over time')}"
    return svg.caption(title, library().info(entry), [*remarks(shown), *chosen])


@pages.get("/")
def recordings() -> str:
    """List the recordings, whole, damaged and foreign."""
    found = library().scan()
    listed = [library().listed(entry) for entry in found[:ENTRIES_AT_MOST]]
    return render_template("recordings.html", listed=listed, found=len(found))


@pages.get("/picture/<any('flamegraph.js', 'heatmap.js', 'overview.js', 'picture.css'):name>")
def picture_file(name: str) -> Response:
    """Serve a picture's script or style, the same that a picture's own file holds."""
    return send_from_directory(svg.HERE, name)


@pages.get("/recording/<entry_id>/")
def recording(entry_id: str) -> AnyResponse:
    """Open a recording at its first picture."""
    entry = entry_or_404(entry_id, "flame", FIRST_VIEW)
    return redirect(url_for("pages.flame", entry_id=entry.id, name=view_there(FIRST_VIEW, entry)))


@pages.get("/recording/<entry_id>/flame/<name>")
def flame(entry_id: str, name: str) -> str:
    """Show a view's flame graph, and its frames as a table."""
    entry, selection = entry_or_404(entry_id, "flame", name), parse_selection(request.args)
    ask = parse_ask(name, request.args)
    stacks = library().stacks(entry, name, selection, ask.options)
    top = (stacks.tree.find(ask.zoom) if ask.zoom is not None else None) or stacks.tree.root
    picture = flame_graph(stacks.tree, flame_caption(entry, stacks, chosen(selection, ask.options)), ask)
    frames = _arranged(frame_table(top))
    command = ["flamegraph", entry.argument, "--view", name, "-o", f"{name}.svg", *ask.way_up]
    return page(
        ("flame.html", entry, "flame", name),
        picture=picture,
        notices=stacks.open_waits,
        frames=frames[:FRAMES_AT_MOST],
        frames_in_all=len(frames),
        top=top,
        unit=stacks.profile.unit,
        kept_here=(*CARRIED, "zoom", "icicle", "flame", "search", "icase"),
        nothing="" if len(stacks.profile) else library().why_nothing(entry, name, selection, ask.options),
        hidden_ns=stacks.profile.hidden_ns,
        command=command_line(command, selection, ask.options),
        forms=("svg", "folded", "json", "csv"),
        filters=(*SELECTION_FIELDS, *query.OPTIONS[name]),
        kept=("zoom", "icicle", "flame", "sort", "down", *VIEW_FIELDS, *AROUND),
    )


@pages.get("/recording/<entry_id>/heatmap/<name>")
def heat(entry_id: str, name: str) -> str:
    """Show a heat map. The region in the address is marked on it, and selects in the other tabs."""
    entry, selection = entry_or_404(entry_id, "heatmap", name), region_left_out()
    by_offset, region = bool(request.args.get("offset")), (*REGION, "ended") if request.args.get("ended") else ("ended",)
    shown = library().heatmap(entry, name, selection, by_offset)
    command = ["heatmap", entry.argument, "--of", name, *["--offset"] * by_offset, "-o", f"{name}.svg"]
    return page(
        ("heatmap.html", entry, "heatmap", name),
        picture=Markup(heatmap.draw(shown, replace(heat_caption(entry, shown, chosen(selection)), notices=()))),
        hidden_ns=shown.hidden_ns,
        opens=view_there(OPENS.get(name, FIRST_VIEW), entry),
        buckets=_by_row(shown),
        timed=shown.unit == "ns",
        total=shown.total,
        shown=duration if shown.unit else count,
        notices=open_waits(shown),
        nothing="" if shown.total else library().why_nothing(entry, name, selection),
        command=command_line(command, selection),
        forms=("svg", "json"),
        filters=["offset", *(field for field in SELECTION_FIELDS if field not in region)],
        kept=(*region, *VIEW_FIELDS, *AROUND),
    )


def _by_row(shown: Heatmap) -> list[dict[str, Any]]:
    """Return a heat map's rows as a histogram's, of all that it shows; an offset chooses no stacks, and no number does."""
    ends = [*shown.rows[1:].tolist(), shown.top_ns]
    rows = bucket_rows(zip(shown.rows.tolist(), ends, strict=False), shown.counts.sum(axis=1).tolist())
    when = {name: request.args.get(f"around_{name}", "") for name in ("from", "to")} if request.args.get("ended") else {}
    chooses = shown.rows_of == "latency" and shown.unit == "ns"
    return [row | {"fields": row["fields"] | when if chooses else None} for row in rows]


@pages.get("/recording/<entry_id>/table/<name>")
def table(entry_id: str, name: str) -> str:
    """Show a table, sorted as the address says."""
    entry, selection = entry_or_404(entry_id, "table", name), parse_selection(request.args)
    whole, first = library().table(entry, name, selection), whole_number(request.args, "first") or 0
    rows = _arranged(whole)
    first = first if first < len(rows) else 0  # another selection may have fewer
    return page(
        ("table.html", entry, "table", name),
        columns=[(column, heading(column)) for column in whole.columns],
        rows=[(row, *_stacks(entry, name, row)) for row in rows[first : first + ROWS_AT_MOST]],
        first=first,
        at_most=ROWS_AT_MOST,
        found=len(rows),
        nothing="" if rows else library().why_nothing(entry, name, selection),
        command=command_line(["table", entry.argument, "--of", name], selection),
        forms=("csv", "json"),
        filters=[field for field in SELECTION_FIELDS if field not in ("all", "ended")],
        kept=("all", "ended", "sort", "down", *VIEW_FIELDS, *AROUND),
    )


def _stacks(entry: Entry, of: str, row: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the stacks that a row opens; what a waker's frame would choose, nothing chooses where there are none."""
    view, fields = row_stacks(of, row)
    there = view_there(view, entry)
    return there, fields if there == view else fields | {"grep": None}


def _kinds(entry: Entry) -> dict[str, dict[str, str]]:
    """Return the pages of a recording, with what they are about: all there are, and those of its traced events' fields."""
    fields = library().of_fields(entry)
    counts = {name: f"how many traced events have each {name.partition(':')[2]}" for name in fields}
    numbers = {name: f"the {name.partition(':')[2]} of traced events" for name, is_number in fields.items() if is_number}
    more = {"table": counts, "heatmap": numbers, "histogram": numbers}
    return {kind: names | more.get(kind, {}) for kind, names in KINDS.items()}


def page(what: tuple[str, Entry, str, str], **values: Any) -> str:
    """Render a recording's page: template, recording, kind and name, and what the template needs besides."""
    template, entry, kind, name = what
    info = library().info(entry)
    values = dict[str, Any](nothing="", filters=SELECTION_FIELDS, kept=(*VIEW_FIELDS, *AROUND), timed=True) | values
    values |= {"all_time": _all_time(), "downloads": DOWNLOADS, "lacking": library().lacking(entry)}
    timeline = Markup(overview.draw(library().overview(entry)))
    values |= {"entry": entry, "kind": kind, "name": name, "info": info, "kinds": _kinds(entry), "timeline": timeline}
    return render_template(template, carried=partial(carried, kind, values["timed"]), **values)


def flame_graph(tree: FrameTree, shown: svg.Caption, ask: Ask, marks: flamegraph.Marks | None = None) -> Markup:
    """Draw the frame graph that was asked for; its notices say what of that could not be had."""
    notices, matches = [], None
    if ask.zoom is not None and tree.find(ask.zoom) is None:
        notices.append("the frame in this address is not among the selected stacks: all of them are shown")
    if ask.search:
        try:
            matches = matching_names(ask.search, tree.names, ask.ignore_case)
        except UsageError as error:
            notices.append(str(error))
    options = flamegraph.FlameOptions(at_most=FRAMES_DRAWN, icicle=ask.icicle, zoom=ask.zoom, matches=matches, marks=marks)
    return Markup(flamegraph.draw(tree, replace(shown, notices=tuple(notices)), options))


def _arranged(whole: Table) -> list[dict[str, Any]]:
    """Return a table's rows by the column `sort`; unknown values come last."""
    rows, column = whole.rows, request.args.get("sort")
    if column is None:
        return rows
    if column not in {known.name for known in whole.columns}:
        raise UsageError(f"the table has no column “{column}”")
    known_rows = [row for row in rows if row.get(column) is not None]
    known_rows.sort(key=lambda row: row[column], reverse="down" in request.args)
    return known_rows + [row for row in rows if row.get(column) is None]
