"""`offwake flamegraph`: stacks as one interactive SVG file."""

import argparse
from pathlib import Path

from offwake.analyzer import query
from offwake.analyzer.render.flamegraph import flame_graph
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
    """Declare the options of `flamegraph`."""
    add_recording(parser)
    parser.add_argument("--view", default="off-wake", metavar="V", help="default: off-wake; `help` lists them")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT.svg", help="default: standard output")
    add_selection(parser, of_stacks=True)


def run(args: argparse.Namespace) -> int:
    """Write a view's flame graph."""
    if args.view == "help":
        return list_names(query.VIEWS)
    must_differ(args.file, args.output)
    with opened(args.file) as recording:
        profile = query.profile(recording, args.view, selection(args))
        picture = flame_graph(profile, caption(args.view, recording.info(), profile.hidden_ns))
        write_output(args.output, picture)
    return status(recording)
