"""`offwake frames`: the functions of a view by self and total time, as aligned text, CSV or JSON."""

import argparse
import json

from offwake.analyzer import query
from offwake.analyzer.render.documents import table_document
from offwake.analyzer.render.frames import frame_table
from offwake.analyzer.render.sandwich import frame_tree
from offwake.analyzer.render.table import csv_table, text_table
from offwake.commands.arguments import Question, add_form, add_recording, add_selection, add_view, answer, view_options

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `frames`."""
    add_recording(parser)
    add_view(parser)
    add_form(parser)
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Print a view's functions, most self time first."""
    return answer(args, query.VIEWS, _rows)


def _rows(asked: Question) -> str:
    options = view_options(asked.args)
    profile = query.profile(asked.recording, asked.args.name, asked.selection, options)
    asked.wonder(len(profile), options)
    found = frame_table(frame_tree(profile, options.sandwich).root)
    if asked.args.json:
        return json.dumps(table_document(found)) + "\n"
    return csv_table(found) if asked.args.csv else text_table(found)
