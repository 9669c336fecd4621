"""`offwake heatmap`: latency over time, as SVG or JSON."""

import argparse
import json
from pathlib import Path

from offwake.analyzer import query
from offwake.analyzer.render.documents import heatmap_document
from offwake.analyzer.render.heatmap import heat_map
from offwake.analyzer.render.svg import caption
from offwake.commands.arguments import (
    add_recording,
    add_selection,
    list_names,
    must_differ,
    opened,
    selection,
    status,
    write_output,
)

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `heatmap`."""
    add_recording(parser)
    parser.add_argument("--of", default="block-io", metavar="H", help="default: block-io; `help` lists them")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT.svg", help="default: standard output")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a picture")
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Write a heat map."""
    if args.of == "help":
        return list_names(query.HEATMAPS)
    must_differ(args.file, args.output)
    with opened(args.file) as recording:
        found = query.heatmap(recording, args.of, selection(args))
        if args.json:
            write_output(args.output, json.dumps(heatmap_document(found)) + "\n")
        else:
            write_output(args.output, heat_map(found, caption(f"{args.of} latency", recording.info())))
    return status(recording)
