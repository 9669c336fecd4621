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
    add_way_up,
    answer,
    view_options,
)

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `flamegraph`."""
    add_recording(parser)
    add_view(parser)
    add_output(parser)
    add_way_up(parser)
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
