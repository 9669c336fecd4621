"""`offwake idle`: which waits are idle, and why; which are not, and what came nearest."""

import argparse
import json
from pathlib import Path

from offwake.analyzer.explain import explain
from offwake.analyzer.idle import default_text
from offwake.analyzer.render.documents import idle_document
from offwake.analyzer.render.idle import idle_sections
from offwake.analyzer.render.sections import text_lines
from offwake.commands.arguments import add_selection, opened, selection, status, write_output
from offwake.errors import UsageError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `idle`."""
    parser.add_argument("file", type=Path, metavar="FILE", nargs="?", help="a recording")
    parser.add_argument("--rules", action="store_true", help="print the default rules, to be copied and edited")
    parser.add_argument("--json", action="store_true", help="one JSON document, with every decision")
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Explain every decision, or print the rules."""
    if args.rules:
        write_output(None, default_text())
        return 0
    if args.file is None:
        raise UsageError("FILE is missing: the recording whose waits are to be explained; --rules needs none")
    with opened(args.file) as recording:
        selected = selection(args)
        decisions = explain(recording, selected)
        if args.json:
            print(json.dumps(idle_document(decisions)))
        else:
            print("\n".join(text_lines(idle_sections(decisions, selected))))
    return status(recording)
