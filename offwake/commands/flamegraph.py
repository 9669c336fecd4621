"""`offwake flamegraph`: stacks as one interactive SVG file."""

import argparse

from offwake.analyzer import query
from offwake.analyzer.completeness import remarks
from offwake.analyzer.options import chosen
from offwake.analyzer.render.flamegraph import FlameOptions, flame_graph
from offwake.analyzer.render.sandwich import frame_tree
from offwake.analyzer.render.svg import caption
from offwake.commands.arguments import (
    Question,
    add_output,
    add_recording,
    add_selection,
    add_view,
    answer,
    view_options,
)

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `flamegraph`."""
    add_recording(parser)
    add_view(parser)
    add_output(parser)
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--icicle", action="store_true", default=None, help="hang it from its root")
    way.add_argument(
        "--flame", dest="icicle", action="store_false", help="stand it on its root (default: what suits its height)"
    )
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Write a view's flame graph."""
    return answer(args, query.VIEWS, _picture)


def _picture(asked: Question) -> str:
    view, options = asked.args.name, view_options(asked.args)
    profile = query.profile(asked.recording, view, asked.selection, options)
    asked.wonder(len(profile), options)
    about = [*remarks(profile), *chosen(asked.selection, options)]
    tree, shown = frame_tree(profile, options.sandwich), caption(view, asked.recording.info(), about)
    return flame_graph(tree, shown, FlameOptions(icicle=asked.args.icicle))
