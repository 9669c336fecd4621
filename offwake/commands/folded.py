"""`offwake folded`: stacks as folded lines, or as JSON."""

import argparse
import json

from offwake.analyzer import query
from offwake.analyzer.render.documents import profile_document
from offwake.analyzer.render.folded import folded
from offwake.commands.arguments import add_recording, add_selection, list_names, opened, selection, status, write_output

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `folded`."""
    add_recording(parser)
    parser.add_argument("--view", default="off-wake", metavar="V", help="default: off-wake; `help` lists them")
    parser.add_argument("--json", action="store_true", help="one JSON document, in nanoseconds")
    add_selection(parser, of_stacks=True)


def run(args: argparse.Namespace) -> int:
    """Print a view's stacks."""
    if args.view == "help":
        return list_names(query.VIEWS)
    with opened(args.file) as recording:
        profile = query.profile(recording, args.view, selection(args))
        write_output(None, json.dumps(profile_document(profile)) + "\n" if args.json else folded(profile))
    return status(recording)
