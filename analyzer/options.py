"""Options: how a selection, and what a view can be asked for besides, are written: on a command line and in an address.

One list serves both, so that a page and the command that it names cannot mean different things. What is wrong with a
value is said here, once: what, where, and what would be right.
"""

import math
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from offwake.analyzer.idle import IdleRules
from offwake.analyzer.intervals import PID_LIMIT
from offwake.analyzer.roots import BY
from offwake.analyzer.select import Selection
from offwake.analyzer.states import LETTERS
from offwake.analyzer.views import CHAIN_WEIGHTS, DEFAULTS, ViewOptions
from offwake.errors import UsageError

__all__ = [
    "IDLE_RULES",
    "SELECTION",
    "VIEW",
    "Option",
    "address",
    "chosen",
    "number",
    "one_of",
    "parse_selection",
    "parse_view_options",
    "parsed",
    "seconds",
    "words",
    "written",
]

TEXT_AT_MOST = 500
LONGEST_S = 10**9


@dataclass(frozen=True)
class Option:
    """One option: its name in an address, and the field that it sets. `metavar` is what it takes, "" for a mere flag."""

    name: str
    field: str
    metavar: str
    about: str
    parse: Callable[[str, str], Any] = lambda flag, text: text
    write: Callable[[Any], str] = str

    @property
    def flag(self) -> str:
        """The option as the command line has it."""
        return "--" + self.name.replace("_", "-")


def _id(flag: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) < PID_LIMIT):
        raise UsageError(f"{flag} {text[:40]}: an id is a whole number from 1 to {PID_LIMIT - 1}")
    return int(text)


def _text(flag: str, text: str) -> str:
    if len(text) > TEXT_AT_MOST:
        raise UsageError(f"{flag} is longer than {TEXT_AT_MOST} characters; shorten it")
    return text


def _states(flag: str, text: str) -> str:
    letters = [letter.strip() for letter in text.split(",")]
    for letter in letters:
        if letter not in LETTERS or len(letter) != 1:
            raise UsageError(f"{flag} {text[:40]}: “{letter[:40]}” is no state; there are {','.join(LETTERS)}")
    return "".join(dict.fromkeys(letters))


def _nanoseconds(flag: str, text: str, unit: str, unit_ns: int) -> int:
    try:
        value = Decimal(text) if text.isascii() else Decimal("nan")
    except InvalidOperation:
        value = Decimal("nan")
    if not (value.is_finite() and 0 <= value <= LONGEST_S * (1_000_000_000 // unit_ns)):
        raise UsageError(f"{flag} {text[:40]}: it takes {unit}, 0 or more, such as 1.5")
    return round(value * unit_ns)


def seconds(flag: str, text: str) -> int:
    """Read seconds as nanoseconds."""
    return _nanoseconds(flag, text, "seconds since the recording's start", 1_000_000_000)


def _microseconds(flag: str, text: str) -> int:
    return _nanoseconds(flag, text, "microseconds", 1_000)


def number(ns: int, unit_ns: int) -> str:
    """Write nanoseconds in another unit, exactly, without needless digits."""
    digits = round(math.log10(unit_ns))
    whole, rest = divmod(ns, unit_ns)
    return f"{whole}.{rest:0{digits}}".rstrip("0").rstrip(".")


def one_of(names: tuple[str, ...]) -> Callable[[str, str], str]:
    """Return what reads one of these names."""
    def parse(flag: str, text: str) -> str:
        if text not in names:
            raise UsageError(f"{flag} {text[:40]}: there is no such choice; there are {', '.join(names)}")
        return text

    return parse


SELECTION = (
    Option("pid", "pid", "PID", "threads of this process", _id),
    Option("tid", "tid", "TID", "this thread", _id),
    Option("comm", "comm", "GLOB", "threads whose name fits, such as 'postgres*'", _text),
    Option("cgroup", "cgroup", "GLOB", "threads whose cgroup's path or name fits, such as '*docker*'", _text),
    Option("state", "states", "S,D,…", f"waits in these states of {','.join(LETTERS)}", _states, ",".join),
    Option(
        "min_us",
        "min_ns",
        "MICROSECONDS",
        "waits, requests and sessions of at least so long",
        _microseconds,
        lambda ns: number(ns, 1_000),
    ),
    Option(
        "max_us",
        "max_ns",
        "MICROSECONDS",
        "waits, requests and sessions of at most so long",
        _microseconds,
        lambda ns: number(ns, 1_000),
    ),
    Option(
        "from", "begin_ns", "SECONDS", "from so long after the start", seconds, lambda ns: number(ns, 1_000_000_000)
    ),
    Option("to", "end_ns", "SECONDS", "until so long after the start", seconds, lambda ns: number(ns, 1_000_000_000)),
    Option("ended", "ended", "", "waits that ended between them, whole: what a region of a heat map holds"),
    Option("grep", "grep", "REGEX", "stacks with a frame that matches, table rows with a text that does", _text),
    Option("all", "show_all", "", "also threads that slept throughout, idle waits, and whom a narrowed recording is not of"),
)
"""The selection's options; `field` is that of a Selection."""

IDLE_RULES = Option(
    "idle_rules",
    "idle_rules",
    "FILE",
    "what waits count as idle; `offwake idle --rules` prints the default ones",
    lambda flag, text: IdleRules.read(Path(text)),
    lambda rules: str(rules.file),
)
"""Of the selection too, but of the command line alone: an address names no file."""

VIEW = (
    Option("by", "by", "|".join(BY), "what the first frame is (default: comm)", one_of(BY)),
    Option("split", "split", "", "--view off-cpu: end stacks in [blocked], [run queue], [wake-up] or [preempted]"),
    Option(
        "chain",
        "chain",
        "|".join(CHAIN_WEIGHTS),
        "--view chain: what it weighs: what the waker did inside the wait, or the whole wait (default: time)",
        one_of(CHAIN_WEIGHTS),
    ),
    Option("hide", "hide", "REGEX", "leave out frames that match; what they called goes to their callers", _text),
    Option("sandwich", "sandwich", "FRAME", "stacks with this frame; a picture has its callers and what it called", _text),
)
"""What a view can be asked for; `field` is that of ViewOptions."""


def parse_selection(given: Mapping[str, str]) -> Selection:
    """Return the selection that options describe, by their names. Raises UsageError for a value that is none."""
    selection = Selection(**parsed((*SELECTION, IDLE_RULES), given))
    _must_ascend(given, ("min_us", "max_us"), (selection.min_ns, selection.max_ns))
    _must_ascend(given, ("from", "to"), (selection.begin_ns, selection.end_ns))
    if selection.begin_ns is not None and selection.begin_ns == selection.end_ns:
        raise UsageError(f"--from {given['from']} --to {given['to']}: nothing lies between them")
    return selection


def parse_view_options(given: Mapping[str, str]) -> ViewOptions:
    """Return what a view is asked for, by the options' names. Raises UsageError for a value that is none."""
    return ViewOptions(**parsed(VIEW, given))


def words(selection: Selection, view_options: ViewOptions = DEFAULTS) -> list[str]:
    """Return the words of a command line that choose this; what is as it would be anyway is left out."""
    return [*written(VIEW, view_options), *written((*SELECTION, IDLE_RULES), selection)]


def address(selection: Selection) -> dict[str, str]:
    """Return the fields of an address that choose this; what is as it would be anyway is left out."""
    differing = _differing(SELECTION, selection)
    return {option.name: option.write(value) if option.metavar else "1" for option, value in differing}


def chosen(selection: Selection, view_options: ViewOptions = DEFAULTS) -> list[str]:
    """Return what was chosen as a caption says it; nothing where nothing was."""
    found = words(selection, view_options)
    return [shlex.join(found)] if found else []


def written(options: tuple[Option, ...], chosen: Any) -> list[str]:
    """Return the words that set the fields of `chosen` by these options; what is as it would be anyway is left out."""
    found = []
    for option, value in _differing(options, chosen):
        text = option.write(value) if option.metavar else None
        parts = [option.flag] if text is None else [option.flag, text]
        found += ["=".join(parts)] if text and text.startswith("-") else parts  # or it would be taken for an option
    return found


def _differing(options: tuple[Option, ...], chosen: Any) -> Iterator[tuple[Option, Any]]:
    """Yield the options whose values are not the default ones, with these."""
    defaults = type(chosen)()
    for option in options:
        if (value := getattr(chosen, option.field)) != getattr(defaults, option.field):
            yield option, value


def parsed(options: tuple[Option, ...], given: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields that given options set. Raises UsageError for a value that is none."""
    parsed: dict[str, Any] = {}
    for option in options:
        if option.name in given:
            text = given[option.name]
            if not text and option.metavar:
                raise UsageError(f"{option.flag}: it is empty; leave the option out to select everything")
            parsed[option.field] = option.parse(option.flag, text) if option.metavar else True
    return parsed


def _must_ascend(given: Mapping[str, str], names: tuple[str, str], values: tuple[int | None, int | None]) -> None:
    low, high = values
    if low is not None and high is not None and low > high:
        asked = " ".join(f"--{name.replace('_', '-')} {given[name]}" for name in names)
        raise UsageError(f"{asked}: nothing lies between them; exchange the two")
