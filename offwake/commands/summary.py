"""`offwake summary`: the first answer, in the terminal."""

import argparse
import shlex
import sys
from collections.abc import Iterator

from offwake.analyzer.completeness import completeness, wholeness
from offwake.analyzer.nothing import nothing_fits
from offwake.analyzer.options import chosen
from offwake.analyzer.recording import Recording
from offwake.analyzer.render.sections import text_lines
from offwake.analyzer.render.summary import summary_sections
from offwake.analyzer.render.text import count, duration, printable
from offwake.analyzer.summary import Summary, summarize
from offwake.commands.arguments import add_recording, add_selection, selection, status

__all__ = ["add_arguments", "run"]

def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `summary`."""
    add_recording(parser)
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Print the summary."""
    selected = selection(args)
    with Recording.open(args.file) as recording:
        summary = summarize(recording, selected)
        print("\n".join(printable(line) for line in _lines(summary, shlex.quote(str(args.file)))))
        if not summary.threads or (selected.grep is not None and not summary.waits and not summary.hidden_ns):
            print(printable(f"offwake: {args.file}: {nothing_fits(recording, selected)}"), file=sys.stderr)
        return status(recording)


def _lines(summary: Summary, file: str) -> Iterator[str]:
    info = summary.info
    yield f"{info['host']}  {info['started']}  {duration(info['duration_ns'])}  {count(info['events'])} events"
    yield f"The recording is {completeness(info)}."
    yield from (f"{words[0].upper()}{words[1:]}." for words in wholeness(info))
    if info["of"] != "everything":
        yield f"It was narrowed to {info['of']}."
    yield from (f"Selected: {options}" for options in chosen(summary.selection))
    yield from (f"- {sentence}" for sentence in info["verdict"])
    yield ""
    yield from text_lines(summary_sections(summary, file))
