"""Downloads: the same pictures and tables as files."""

import json
import re

from flask import Blueprint, Response, request

from offwake.analyzer.options import chosen
from offwake.analyzer.render import overview, svg
from offwake.analyzer.render.documents import heatmap_document, profile_document, table_document, trust
from offwake.analyzer.render.flamegraph import FlameOptions, flame_graph
from offwake.analyzer.render.folded import folded
from offwake.analyzer.render.frames import frame_table
from offwake.analyzer.render.heatmap import heat_map
from offwake.analyzer.render.table import csv_table
from offwake.web.asks import parse_ask, parse_selection
from offwake.web.library import Entry
from offwake.web.pages import entry_or_404, flame_caption, heat_caption, library, region_left_out

__all__ = ["downloads", "send"]

TYPES = {"svg": "image/svg+xml", "json": "application/json", "csv": "text/csv", "folded": "text/plain", "txt": "text/plain"}
downloads = Blueprint("downloads", __name__)


@downloads.get("/recording/<entry_id>/flame/<name>.<any(svg, folded, json, csv):form>")
def flame(entry_id: str, name: str, form: str) -> Response:
    """Send a view's selected stacks; as CSV, their frames by self and total time."""
    entry = entry_or_404(entry_id, "flame", name)
    selection, ask = parse_selection(request.args), parse_ask(name, request.args)
    stacks = library().stacks(entry, name, selection, ask.options)
    profile = stacks.profile
    if form == "svg":
        caption = flame_caption(entry, stacks, chosen(selection, ask.options))
        return send(entry, f"{name}.svg", flame_graph(stacks.tree, caption, FlameOptions(icicle=ask.icicle)))
    if form == "csv":
        return send(entry, f"{name}-frames.csv", csv_table(frame_table(stacks.tree.root)))
    if form == "folded":
        return send(entry, f"{name}.folded", folded(profile))
    return send(entry, f"{name}.json", json.dumps(profile_document(profile) | trust(library().info(entry))))


@downloads.get("/recording/<entry_id>/heatmap/<name>.<any(svg, json):form>")
def heatmap(entry_id: str, name: str, form: str) -> Response:
    """Send a heat map of the selected threads."""
    entry = entry_or_404(entry_id, "heatmap", name)
    selection = region_left_out()
    shown = library().heatmap(entry, name, selection, bool(request.args.get("offset")))
    if form == "svg":
        return send(entry, f"{name}.svg", heat_map(shown, heat_caption(entry, shown, chosen(selection))))
    return send(entry, f"{name}.json", json.dumps(heatmap_document(shown) | trust(library().info(entry))))


@downloads.get("/recording/<entry_id>/table/<name>.<any(csv, json):form>")
def table(entry_id: str, name: str, form: str) -> Response:
    """Send a whole table."""
    entry = entry_or_404(entry_id, "table", name)
    shown = library().table(entry, name, parse_selection(request.args))
    return send(entry, f"{name}.{form}", csv_table(shown) if form == "csv" else json.dumps(table_document(shown)))


@downloads.get("/recording/<entry_id>/overview.svg")
def timeline(entry_id: str) -> Response:
    """Send the timeline."""
    entry = entry_or_404(entry_id, "table", "overview")
    caption = svg.caption("timeline", library().info(entry))
    return send(entry, "overview.svg", overview.timeline(library().overview(entry), caption))


def send(entry: Entry, name: str, text: str) -> Response:
    """Send text as a file that a browser saves and never opens in this site's name."""
    file_name = re.sub(r"[^A-Za-z0-9._-]", "_", f"{entry.path.stem}-{name}")
    content_type = f"{TYPES[name.rpartition('.')[2]]}; charset=utf-8"
    response = Response(text.encode("utf-8", "replace"), content_type=content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
    return response
