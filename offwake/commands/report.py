"""`offwake report`: the main pictures and tables in one HTML file that opens from disk."""

import argparse

from offwake.commands.arguments import (
    Question,
    add_output,
    add_recording,
    add_selection,
    answer,
)

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `report`."""
    add_recording(parser)
    add_output(parser, "OUT.html")
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Write a report."""
    args.name = "report"
    return answer(args, {}, _document)


def _document(asked: Question) -> str:
    from offwake.web.report import report  # Flask comes with it: `--help` needs none

    return report(asked.recording, asked.args.file, asked.selection) + "\n"
