"""`offwake heatmap`: latency over time, as SVG or JSON."""

import argparse
import json

from offwake.analyzer import query
from offwake.analyzer.completeness import remarks
from offwake.analyzer.options import chosen
from offwake.analyzer.render.documents import heatmap_document, trust
from offwake.analyzer.render.heatmap import heat_map, title
from offwake.analyzer.render.svg import caption
from offwake.commands.arguments import Question, add_of, add_output, add_recording, add_selection, answer
from offwake.errors import UsageError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `heatmap`."""
    add_recording(parser)
    add_of(parser, "H", "off-cpu")
    parser.add_argument(
        "--offset", action="store_true", help="when in each second it ended, instead of how long it took"
    )
    parser.add_argument(
        "--period",
        type=float,
        metavar="SECONDS",
        help="with --offset: instead of each second (default: 1)",
    )
    add_output(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a picture")
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Write a heat map."""
    return answer(args, query.HEATMAPS, _picture)


def _picture(asked: Question) -> str:
    name = asked.args.name
    if asked.args.offset:
        found = query.offsets(asked.recording, name, asked.selection, _period_ns(asked.args.period))
    elif asked.args.period is not None:
        raise UsageError("--period says nothing without --offset: leave it out, or add --offset")
    else:
        found = query.heatmap(asked.recording, name, asked.selection)
    asked.wonder(found.total)
    info = asked.recording.info()
    if asked.args.json:
        return json.dumps(heatmap_document(found) | trust(info)) + "\n"
    return heat_map(found, caption(title(found), info, [*remarks(found), *chosen(asked.selection)]))


def _period_ns(seconds: float | None) -> int:
    if seconds is None:
        return 1_000_000_000
    if not 0 < seconds <= 1e9:
        raise UsageError(f"--period {seconds:g}: a period is a number of seconds above 0")
    return round(seconds * 1e9)
