"""Arguments that several commands share: the recording, the selection, where the output goes; and how they answer."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from offwake.analyzer import query
from offwake.analyzer.options import IDLE_RULES, SELECTION, VIEW, Option, parse_selection, parse_view_options
from offwake.analyzer.recording import Recording
from offwake.analyzer.render.text import printable
from offwake.analyzer.select import Selection
from offwake.analyzer.views import DEFAULTS, ViewOptions
from offwake.errors import DamagedRecording, OutputError, UsageError

__all__ = [
    "Question",
    "add",
    "add_form",
    "add_of",
    "add_output",
    "add_recording",
    "add_selection",
    "add_view",
    "add_way_up",
    "answer",
    "given",
    "listed",
    "opened",
    "refuse_input",
    "selection",
    "status",
    "view_options",
    "write_output",
]


def add_recording(parser: argparse.ArgumentParser) -> None:
    """Add the positional FILE."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording")


def add_of(parser: argparse.ArgumentParser, metavar: str, default: str) -> None:
    """Add --of."""
    about = f"default: {default}; `help` lists what FILE can give"
    parser.add_argument("--of", dest="name", default=default, metavar=metavar, help=about)


def add_form(parser: argparse.ArgumentParser) -> None:
    """Add --json and --csv, of which at most one."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="a JSON list, a row an object")
    form.add_argument("--csv", action="store_true", help="comma-separated values, times in nanoseconds")


def add_output(parser: argparse.ArgumentParser, metavar: str = "OUT.svg") -> None:
    """Add -o."""
    parser.add_argument("-o", "--output", type=Path, metavar=metavar, help="default: standard output")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which threads, which time and which waits."""
    add(parser.add_argument_group("selection"), (*SELECTION, IDLE_RULES))


def add_view(parser: argparse.ArgumentParser) -> None:
    """Add --view, and what a view can be asked for besides."""
    parser.add_argument(
        "--view",
        dest="name",
        default="off-wake",
        metavar="V",
        help="default: off-wake; `help` lists what FILE can give",
    )
    add(parser, VIEW)


def add_way_up(parser: argparse.ArgumentParser) -> None:
    """Add --icicle and --flame, of which at most one."""
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--icicle", action="store_true", default=None, help="hang it from its root")
    way.add_argument(
        "--flame", dest="icicle", action="store_false", help="stand it on its root (default: what suits its height)"
    )


def selection(args: argparse.Namespace) -> Selection:
    """Return the selection that the options describe. Raises UsageError for values that are none, or contradict."""
    return parse_selection(given(args, (*SELECTION, IDLE_RULES)))


def view_options(args: argparse.Namespace) -> ViewOptions:
    """Return what the view is asked for. Raises UsageError for values that are none, or say nothing to this view."""
    asked = given(args, VIEW)
    for name in asked:
        query.must_understand(args.name, name)
    return parse_view_options(asked)


@dataclass(frozen=True)
class Question:
    """What a command was asked, of a recording that is open."""

    args: argparse.Namespace
    recording: Recording
    selection: Selection

    def wonder(self, found: int, options: ViewOptions = DEFAULTS) -> None:
        """Say on standard error why nothing was found, where that is so."""
        if not found:
            self.say(query.why_nothing(self.recording, self.args.name, self.selection, options))

    def say(self, sentence: str) -> None:
        """Say something on standard error, of this file."""
        print(printable(f"offwake: {self.args.file}: {sentence}"), file=sys.stderr)


def answer(args: argparse.Namespace, known: dict[str, str], make: Callable[[Question], str]) -> int:
    """Write what `make` makes of a question, by the name in `args.name`; `help` lists what the recording can give.

    `known` are the names with what they give. Returns the exit code.
    """
    chosen = selection(args)
    output: Path | None = getattr(args, "output", None)
    refuse_input(output, args.file)
    with opened(args.file) as recording:
        if args.name == "help":
            sys.stdout.write(listed(recording, known))
        else:
            write_output(output, make(Question(args, recording, chosen)))
    return status(recording)


def refuse_input(output: Path | None, file: Path) -> None:
    """Raise UsageError where a result would be written over its recording."""
    if output is not None and output.exists() and file.exists() and output.samefile(file):
        raise UsageError(f"-o {output}: that is the recording itself; choose another name")


@contextmanager
def opened(path: Path) -> Iterator[Recording]:
    """Open a recording; say on standard error what is not as it should be, when it has been read."""
    with Recording.open(path) as recording:
        yield recording
        for sentence in recording.notices():
            print(printable(f"offwake: {path}: {sentence}"), file=sys.stderr)


def status(recording: Recording) -> int:
    """Return 4 for a recording that is damaged or was not ended, else 0."""
    reader = recording.reader
    return 0 if reader.finished and not reader.damage else DamagedRecording.exit_code


def write_output(path: Path | None, text: str) -> None:
    """Write a result to a file, or to standard output for None and `-`. Raises OutputError."""
    if path is None or str(path) == "-":
        sys.stdout.write(text)
        return
    try:
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}; choose another place with -o") from error


def add(group: argparse._ActionsContainer, options: tuple[Option, ...]) -> None:
    """Add options. Their values stay text here: parse_selection says in one line what is wrong with one."""
    for option in options:
        about = option.about.replace("%", "%%")
        if option.metavar:
            group.add_argument(option.flag, dest=option.name, metavar=option.metavar, help=about)
        else:
            group.add_argument(option.flag, dest=option.name, action="store_const", const="", help=about)


def given(args: argparse.Namespace, options: tuple[Option, ...]) -> dict[str, str]:
    """Return the texts of the options that were given, by their names."""
    values = {option.name: getattr(args, option.name) for option in options}
    return {name: value for name, value in values.items() if value is not None}


def listed(recording: Recording, known: dict[str, str]) -> str:
    """List names with what they give, and say what this recording has nothing for."""
    width = max(map(len, known))
    lines = []
    for name, summary in known.items():
        lacking = query.lacks(recording, name)
        lines.append(f"{name:<{width}}  {printable(lacking) + ': ' if lacking else ''}{summary}\n")
    return "".join(lines)
