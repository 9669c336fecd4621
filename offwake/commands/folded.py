"""`offwake folded`: stacks as folded lines, or as JSON."""

import argparse
import json

from offwake.analyzer import query
from offwake.analyzer.completeness import completeness, remarks, wholeness
from offwake.analyzer.render.documents import profile_document, trust
from offwake.analyzer.render.folded import folded
from offwake.commands.arguments import Question, add_recording, add_selection, add_view, answer, view_options

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `folded`."""
    add_recording(parser)
    add_view(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document, in nanoseconds")
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Print a view's stacks; how complete they are, on standard error."""
    return answer(args, query.VIEWS, _stacks)


def _stacks(asked: Question) -> str:
    options = view_options(asked.args)
    profile = query.profile(asked.recording, asked.args.name, asked.selection, options)
    asked.wonder(len(profile), options)
    info = asked.recording.info()
    asked.say("; ".join([completeness(info), *wholeness(info), *remarks(profile)]))
    return json.dumps(profile_document(profile) | trust(info)) + "\n" if asked.args.json else folded(profile)
