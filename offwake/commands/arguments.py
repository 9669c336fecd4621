"""Arguments that several commands share: the recording, the selection, where the output goes."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offwake.analyzer.recording import Recording
from offwake.analyzer.select import Selection
from offwake.errors import DamagedRecording, OutputError, UsageError

__all__ = [
    "add_recording",
    "add_selection",
    "list_names",
    "must_differ",
    "opened",
    "selection",
    "status",
    "write_output",
]

SECOND = 1_000_000_000
LONGEST_S = 1e9


def add_recording(parser: argparse.ArgumentParser) -> None:
    """Add the positional FILE."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording")


def add_selection(parser: argparse.ArgumentParser, of_stacks: bool = False) -> None:
    """Add the options that say which threads and which time, and where it is of stacks, which of them."""
    group = parser.add_argument_group("selection")
    group.add_argument("--pid", type=int, metavar="PID", help="threads of this process")
    group.add_argument("--tid", type=int, metavar="TID", help="this thread")
    group.add_argument("--comm", metavar="GLOB", help="threads whose name fits, such as 'postgres*'")
    group.add_argument("--from", type=float, dest="begin_s", metavar="SECONDS", help="from so long after the start")
    group.add_argument("--to", type=float, dest="end_s", metavar="SECONDS", help="until so long after the start")
    if of_stacks:
        group.add_argument("--grep", metavar="REGEX", help="stacks with a frame that matches")
    group.add_argument("--all", action="store_true", dest="show_all", help="also threads that slept throughout")


def selection(args: argparse.Namespace) -> Selection:
    """Return the selection that the options describe. Raises UsageError where they contradict each other."""
    begin_s, end_s = args.begin_s, args.end_s
    for name, seconds in (("--from", begin_s), ("--to", end_s)):
        if seconds is not None and not 0 <= seconds <= LONGEST_S:
            raise UsageError(f"{name} {seconds:g}: a time is 0 or more seconds after the recording's start")
    if begin_s is not None and end_s is not None and begin_s >= end_s:
        raise UsageError(f"--from {begin_s:g} --to {end_s:g}: nothing lies between them")
    return Selection(
        pid=args.pid,
        tid=args.tid,
        comm=args.comm,
        begin_ns=None if begin_s is None else int(begin_s * SECOND),
        end_ns=None if end_s is None else int(end_s * SECOND),
        grep=getattr(args, "grep", None),
        show_all=args.show_all,
    )


@contextmanager
def opened(path: Path) -> Iterator[Recording]:
    """Open a recording; say on standard error what is not as it should be, when it has been read."""
    with Recording.open(path) as recording:
        yield recording
        for sentence in recording.notices():
            print(f"offwake: {path}: {sentence}", file=sys.stderr)


def status(recording: Recording) -> int:
    """Return 4 for a recording that is damaged or was not ended, else 0."""
    reader = recording.reader
    return 0 if reader.finished and not reader.damage else DamagedRecording.exit_code


def list_names(names: dict[str, str]) -> int:
    """Print names with what they give; returns the exit code."""
    width = max(map(len, names))
    for name, summary in names.items():
        print(f"{name:<{width}}  {summary}")
    return 0


def must_differ(recording: Path, output: Path | None) -> None:
    """Raise UsageError where a result would overwrite the recording that it is of."""
    if output is not None and output.exists() and recording.exists() and output.samefile(recording):
        raise UsageError(f"-o {output}: that is the recording itself; choose another name")


def write_output(path: Path | None, text: str) -> None:
    """Write a result to a file, or to standard output for None and `-`. Raises OutputError."""
    if path is None or str(path) == "-":
        sys.stdout.write(text)
        return
    try:
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}; choose another place with -o") from error
