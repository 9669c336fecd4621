"""`offwake table`: rows, as aligned text, CSV or JSON."""

import argparse
import json

from offwake.analyzer import query
from offwake.analyzer.render.documents import table_document
from offwake.analyzer.render.table import csv_table, text_table
from offwake.commands.arguments import add_recording, add_selection, list_names, opened, selection, status, write_output

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `table`."""
    add_recording(parser)
    parser.add_argument("--of", default="threads", metavar="T", help="default: threads; `help` lists them")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="a JSON list, a row an object")
    form.add_argument("--csv", action="store_true", help="comma-separated values, times in nanoseconds")
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Print a table."""
    if args.of == "help":
        return list_names(query.TABLES)
    with opened(args.file) as recording:
        found = query.table(recording, args.of, selection(args))
        if args.json:
            write_output(None, json.dumps(table_document(found)) + "\n")
        else:
            write_output(None, csv_table(found) if args.csv else text_table(found))
    return status(recording)
