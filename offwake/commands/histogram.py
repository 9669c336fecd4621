"""`offwake histogram`: how latencies are distributed, in text, JSON or SVG."""

import argparse
import json

from offwake.analyzer import query
from offwake.analyzer.completeness import completeness, remarks, wholeness
from offwake.analyzer.histogram import UNITS, Buckets
from offwake.analyzer.options import chosen
from offwake.analyzer.render.bars import bar_chart
from offwake.analyzer.render.documents import histogram_document, trust
from offwake.analyzer.render.histogram import text_histogram
from offwake.analyzer.render.svg import caption
from offwake.commands.arguments import Question, add_of, add_output, add_recording, add_selection, answer
from offwake.errors import UsageError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `histogram`."""
    add_recording(parser)
    add_of(parser, "H", "off-cpu")
    parser.add_argument("--by", default="", metavar="FIELD,…", help="a histogram for each device, operation, comm, …")
    parser.add_argument(
        "--interval", type=float, metavar="SECONDS", help="a histogram for each interval of this length"
    )
    parser.add_argument("--unit", choices=UNITS, help="default: by the median")
    parser.add_argument(
        "-m", dest="unit", action="store_const", const="msecs", help="--unit msecs, as biolatency has it"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    add_output(parser)
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Print histograms; how complete they are, on standard error."""
    return answer(args, query.HISTOGRAMS, _text)


def _text(asked: Question) -> str:
    args, info = asked.args, asked.recording.info()
    if args.interval is not None and not 1e-9 <= args.interval <= 1e9:
        raise UsageError(f"--interval {args.interval:g}: an interval is a number of seconds above 0")
    interval_ns = None if args.interval is None else round(args.interval * 1e9)
    by = tuple(dict.fromkeys(filter(None, args.by.split(","))))
    found = query.histogram(asked.recording, args.name, asked.selection, Buckets(by, interval_ns, args.unit))
    asked.wonder(found.total)
    asked.say("; ".join([completeness(info), *wholeness(info), *remarks(found)]))
    if args.json:
        return json.dumps(histogram_document(found) | trust(info)) + "\n"
    if args.output is not None and args.output.suffix == ".svg":
        about = [*remarks(found), *chosen(asked.selection)]
        return bar_chart(found, caption(f"{found.of}: {query.HISTOGRAMS.get(found.of, 'numbers')}", info, about))
    return text_histogram(found, info["started"])
