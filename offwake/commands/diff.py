"""`offwake diff`: what differs between two recordings, or two times of one."""

import argparse
import json
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from offwake.analyzer import query
from offwake.analyzer.changes import amount, changes
from offwake.analyzer.compare import Comparison, Part, compare
from offwake.analyzer.compare_options import COMPARE, How, named, parse_how, sides
from offwake.analyzer.recording import Recording
from offwake.analyzer.render.difference import difference_graph, folded_twice, ranked, subtitle, title
from offwake.analyzer.render.documents import comparison_document
from offwake.analyzer.render.svg import SEPARATOR, Caption
from offwake.analyzer.render.text import printable
from offwake.analyzer.select import Selection
from offwake.analyzer.unlike import unlike
from offwake.analyzer.views import ViewOptions
from offwake.commands.arguments import (
    add,
    add_output,
    add_selection,
    add_view,
    add_way_up,
    given,
    listed,
    opened,
    refuse_input,
    selection,
    status,
    view_options,
    write_output,
)
from offwake.errors import UsageError

__all__ = ["add_arguments", "run"]


@dataclass(frozen=True)
class _Asked:
    """What is to be compared, and how."""

    files: tuple[Path, Path]
    selection: Selection
    options: ViewOptions
    how: How

    @property
    def names(self) -> tuple[str, str]:
        """What both sides are called: with their folders, where two files have one name."""
        before, after = self.files
        alike = before.name == after.name and before != after
        return named((str(before), str(after)) if alike else (before.name, after.name), self.how)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `diff`."""
    parser.add_argument("file", type=Path, metavar="BEFORE", help="a recording")
    about = "another one; left out, --before and --after say which two times of BEFORE to compare"
    parser.add_argument("other", type=Path, metavar="AFTER", nargs="?", help=about)
    add_view(parser)
    add(parser, COMPARE)
    add_way_up(parser)
    add_output(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--folded", action="store_true", help="`stack BEFORE AFTER` lines, as difffolded.pl prints them")
    form.add_argument("--json", action="store_true", help="one JSON document, in nanoseconds")
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Compare. Prints what got worse and better, in words; with -o, --folded or --json something else."""
    if args.output and (args.folded or args.json):
        raise UsageError("-o writes a picture, --folded and --json go to standard output: choose one of them")
    how, chosen = parse_how(given(args, COMPARE)), selection(args)
    other = args.other or args.file
    for file in (args.file, other):
        refuse_input(args.output, file)
    same = not args.other or (args.file.exists() and other.exists() and args.file.samefile(other))
    if args.name != "help":
        times = sides(how, chosen, same)
    with opened(args.file) as before, nullcontext(before) if same else opened(other) as after:
        if args.name == "help":
            sys.stdout.write(listed(before, query.COMPARABLE))
            return status(before)
        parts = Part(before, times[0]), Part(after, times[1])
        asked = _Asked((args.file, args.file if same else other), chosen, view_options(args), how)
        compared = compare(*parts, args.name, asked.options, how.normalize)
        for file, part, side in zip(asked.files, parts, (compared.before, compared.after), strict=True):
            if not len(side.profile):
                why = query.why_nothing(part.recording, args.name, part.selection)
                print(printable(f"offwake: {file}: {why}"), file=sys.stderr)
        write_output(args.output, _answer(args, asked, compared, (before, after)))
    return max(status(before), status(after))


def _answer(
    args: argparse.Namespace, asked: _Asked, compared: Comparison, recordings: tuple[Recording, Recording]
) -> str:
    infos = recordings[0].info(), recordings[1].info()
    notices = tuple(unlike(compared, *infos))
    if args.folded:
        return folded_twice(compared)
    rows = changes(compared)
    if args.json:
        return json.dumps(comparison_document(compared, rows) | {"notices": notices}) + "\n"
    how, chosen = asked.how, asked.how.words(asked.selection, asked.options)
    if args.output:
        about = SEPARATOR.join(subtitle(compared, how.layout, [" ".join(chosen)] if chosen else []))
        return difference_graph(compared, how.layout, Caption(title(compared, asked.names), about, notices), args.icicle)
    totals = [amount(int(values.sum()), how.normalize) for values in (compared.before_ns, compared.after_ns)]
    lines = [
        title(compared, asked.names),
        SEPARATOR.join(subtitle(compared, "both", [])[:2]) + f": {totals[0]} before, {totals[1]} after",
        *notices,
        "",
        *ranked(compared, rows),
    ]
    return "".join(f"{printable(line)}\n" for line in lines)
