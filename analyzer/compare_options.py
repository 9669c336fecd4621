"""Options of a comparison: how it is normalized and laid out, and which time of a recording is which side.

Written alike on a command line and in an address, see options.py.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace

from offwake.analyzer.compare import NORMALIZE
from offwake.analyzer.options import Option, number, one_of, parsed, seconds, words, written
from offwake.analyzer.select import Selection
from offwake.analyzer.views import ViewOptions
from offwake.errors import UsageError

__all__ = ["COMPARE", "LAYOUTS", "How", "Span", "named", "parse_how", "sides"]

LAYOUTS = ("both", "before", "after")
SECOND = 1_000_000_000
Span = tuple[int, int | None]
"""From when to when, in nanoseconds since the recording's start; None: to its end."""


@dataclass(frozen=True)
class How:
    """How to compare. `before` and `after` are the times of the two sides, None where a side is all that is selected."""

    normalize: str = "second"
    layout: str = "both"
    before: Span | None = None
    after: Span | None = None

    def words(self, selection: Selection, options: ViewOptions) -> list[str]:
        """Return the words of a command line that compare so; what is as it would be anyway is left out."""
        return [*written(COMPARE, self), *words(selection, options)]

    def command(self, files: list[str], view: str, selection: Selection, options: ViewOptions) -> str:
        """Return the shell command that makes the picture."""
        command = ["offwake", "diff", *files, "--view", view, *self.words(selection, options), "-o", f"diff-{view}.svg"]
        return shlex.join(command)


def _span(flag: str, text: str) -> Span:
    begin, dash, end = text.partition("-")
    if not (dash and begin):
        raise UsageError(
            f"{flag} {text[:40]}: it takes two times in seconds, FROM-TO, such as 10-20, or 10- for the rest"
        )
    span = seconds(flag, begin), seconds(flag, end) if end else None
    if span[1] is not None and span[1] <= span[0]:
        raise UsageError(f"{flag} {text[:40]}: nothing lies between them; exchange the two")
    return span


def _written(span: Span) -> str:
    begin, end = span
    return f"{number(begin, SECOND)}-{'' if end is None else number(end, SECOND)}"


COMPARE = (
    Option(
        "normalize",
        "normalize",
        "|".join(NORMALIZE),
        "per second, by share of all that is shown, or not at all (default: second)",
        one_of(NORMALIZE),
    ),
    Option("layout", "layout", "|".join(LAYOUTS), "what widths show (default: the larger of both)", one_of(LAYOUTS)),
    Option("before", "before", "FROM-TO", "compare this time (seconds) of BEFORE", _span, _written),
    Option(
        "after", "after", "FROM-TO", "with this time of AFTER, or of BEFORE if there is no other file", _span, _written
    ),
)
"""The comparison's options; `field` is that of How."""


def parse_how(given: Mapping[str, str]) -> How:
    """Return how to compare, by the options' names. Raises UsageError for a value that is none."""
    return How(**parsed(COMPARE, given))


def sides(how: How, selection: Selection, same: bool) -> tuple[Selection, Selection]:
    """Return what to select of each side. Raises UsageError where both would be the `same` time of one recording."""
    if same and (how.before is None or how.after is None):
        raise UsageError(
            "one recording alone: say which two times of it to compare, such as --before 0-10 --after 20-30"
        )
    if (how.before or how.after) and (selection.begin_ns is not None or selection.end_ns is not None):
        raise UsageError("--before and --after say which time to compare: leave out --from and --to")
    before, after = (
        selection if span is None else replace(selection, begin_ns=span[0], end_ns=span[1])
        for span in (how.before, how.after)
    )
    return before, after


def named(files: tuple[str, str], how: How) -> tuple[str, str]:
    """Return what both sides are called: their files, with the times that are compared of them."""
    times = [f" {_written(span)} s" if span else "" for span in (how.before, how.after)]
    return f"{files[0]}{times[0]}", f"{files[1]}{times[1]}"
