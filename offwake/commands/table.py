"""`offwake table`: rows, as aligned text, CSV or JSON."""

import argparse
import json

from offwake.analyzer import query
from offwake.analyzer.render.documents import table_document
from offwake.analyzer.render.table import csv_table, text_table
from offwake.commands.arguments import Question, add_form, add_of, add_recording, add_selection, answer

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `table`."""
    add_recording(parser)
    add_of(parser, "T", "threads")
    add_form(parser)
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Print a table."""
    return answer(args, query.TABLES, _rows)


def _rows(asked: Question) -> str:
    found = query.table(asked.recording, asked.args.name, asked.selection)
    asked.wonder(len(found.rows))
    if asked.args.json:
        return json.dumps(table_document(found)) + "\n"
    return csv_table(found) if asked.args.csv else text_table(found)
