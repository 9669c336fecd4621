"""The rules by which waits count as idle: data that a user can read, copy and edit.

idle.toml holds the default ones and says what can be written in such a file. `verdicts.py` applies them.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from math import inf
from pathlib import Path
from typing import Any

from offwake.errors import UsageError

__all__ = ["FIGURES", "IdleRules", "Rule", "default_text", "stack_text"]

FIGURES = (
    "waits",
    "timer_share",
    "interrupt_share",
    "thread_share",
    "uninterruptible_share",
    "variation",
    "blocked_share",
    "lifetime_share",
    "alike",
    "waited_for_share",
)
"""What a rule can bound, see idle.toml."""

Bounds = tuple[tuple[str, float], ...]
SCHEDULER = re.compile(r"(__)?schedule(_\w+)?_\[k\]")
KERNEL_SUFFIX = "_[k]"
LARGEST = 1 << 63  # that TOML has room for


@dataclass(frozen=True)
class Rule:
    """One way for waits to be idle: all of its conditions must hold. See idle.toml for what they mean."""

    name: str
    why: str
    stack: tuple[str, ...] = ()
    not_stack: tuple[str, ...] = ()
    comm: tuple[str, ...] = ()
    not_comm: tuple[str, ...] = ()
    listens: bool | None = None
    at_least: Bounds = ()
    at_most: Bounds = ()

    def fits_stack(self, text: str) -> bool:
        """Tell whether a stack, as `stack_text` gives it, is one that the rule speaks of."""
        wanted, unwanted = self._stacks
        return (wanted is None or bool(wanted.fullmatch(text))) and not (unwanted and unwanted.fullmatch(text))

    def fits_comm(self, comm: str) -> bool:
        """Tell whether a thread's name is one that the rule speaks of."""
        wanted, unwanted = self._comms
        return (wanted is None or bool(wanted.fullmatch(comm))) and not (unwanted and unwanted.fullmatch(comm))

    @cached_property
    def _stacks(self) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
        return _any_of(map(_frames, self.stack)), _any_of(map(_frames, self.not_stack))

    @cached_property
    def _comms(self) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
        return _any_of(map(_glob, self.comm)), _any_of(map(_glob, self.not_comm))


@dataclass(frozen=True)
class IdleRules:
    """Rules, in the order in which they are tried; `file` is where they were read, "" for the default ones."""

    rules: tuple[Rule, ...]
    file: str = field(default="", compare=False)

    @staticmethod
    @cache
    def default() -> "IdleRules":
        """Return the rules of idle.toml."""
        return IdleRules(_parsed(default_text(), "idle.toml"))

    @staticmethod
    def read(path: Path) -> "IdleRules":
        """Read a file of rules. Raises UsageError, naming the file, the rule and the key, where it is none."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--idle-rules {path}: it cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"--idle-rules {path}: it is no text in UTF-8 (byte {error.start})") from error
        return IdleRules(_parsed(text, f"--idle-rules {path}"), str(path))


@cache
def default_text() -> str:
    """Return idle.toml as it was written."""
    return resources.files("offwake.analyzer").joinpath("idle.toml").read_text(encoding="utf-8")


def stack_text(frames: tuple[str, ...]) -> str:
    """Return a stack, leaf first as it is named, as patterns see it: root first, without the scheduler at the leaf."""
    first = next((index for index, frame in enumerate(frames) if not SCHEDULER.fullmatch(frame)), len(frames))
    return "".join(f"{frame};" for frame in reversed(frames[first:]))


def _any_of(patterns: Iterator[str]) -> re.Pattern[str] | None:
    listed = list(patterns)
    return re.compile("|".join(listed)) if listed else None


def _glob(pattern: str) -> str:
    return _with_gaps(list(map(re.escape, pattern.split("*"))), "[^;]*")


def _frames(pattern: str) -> str:
    """Return the regular expression for a pattern of frames."""
    runs = [""]
    for frame in pattern.split(";"):
        if frame == "**":
            runs.append("")
        else:
            runs[-1] += _glob(frame) + ("" if frame.endswith(KERNEL_SUFFIX) else r"(?:_\[k\])?") + ";"
    return _with_gaps(runs, "(?:[^;]*;)*")


def _with_gaps(parts: list[str], gap: str) -> str:
    """Join regular expressions by gaps of any length, so that no name and no stack takes exponential time to match.

    A part between two gaps is taken where it fits first, for good: what comes after it would fit no better further on.
    """
    first, *others = parts
    between = "".join(f"(?>{gap}?{part})" for part in others[:-1])
    return first + between + "".join(gap + part for part in others[-1:])


# Reading a file


def _parsed(text: str, where: str) -> tuple[Rule, ...]:
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # besides its own errors: too many digits, too many brackets
        raise UsageError(f"{where}: not TOML: {error}") from error
    _keys(document, ("rule",), where)
    listed = document.get("rule", [])
    if not isinstance(listed, list):
        raise UsageError(f"{where}: rule: each rule begins with a line [[rule]]")
    rules = tuple(_rule(table, f"{where}: rule {number}") for number, table in enumerate(listed, 1))
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{where}: two rules are called {name!r}; give each a name of its own")
    return rules


def _rule(table: Any, where: str) -> Rule:
    if not isinstance(table, dict):
        raise UsageError(f"{where}: a rule begins with a line [[rule]]")
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise UsageError(f'{where}: name: it needs one, such as name = "pool"')
    where = f"{where} ({name})"
    _keys(table, tuple(_READERS), where)
    values: dict[str, Any] = {
        key: read(table[key], f"{where}: {key}") for key, read in _READERS.items() if key in table
    }
    if "why" not in values:
        raise UsageError(f"{where}: why: it needs a sentence that says why such waits are idle")
    if values.keys() <= {"name", "why"}:
        raise UsageError(f"{where}: it has no condition, and would call every wait idle")
    return Rule(**values)


def _keys(table: dict[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in allowed:
            raise UsageError(f"{where}: {key}: no such key; there are {', '.join(allowed)}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{where}: a text in quotes is wanted")
    return value


def _patterns(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(pattern, str) and pattern for pattern in value):
        raise UsageError(f'{where}: a list of patterns is wanted, such as ["**;ep_poll;**"]')
    return tuple(value)


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{where}: true or false is wanted")
    return value


def _bounds(value: Any, where: str) -> Bounds:
    if not isinstance(value, dict) or not value:
        raise UsageError(f"{where}: figures with their bounds are wanted, such as {{ waits = 5 }}")
    _keys(value, FIGURES, where)
    for figure, bound in value.items():
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 <= bound or LARGEST <= bound < inf:
            raise UsageError(f"{where}: {figure}: a number from 0 up is wanted")
        if figure.endswith("_share") and bound > 1:
            raise UsageError(f"{where}: {figure}: a share goes from 0 to 1; {bound:g} per cent is {bound / 100:g}")
    return tuple((figure, float(bound)) for figure, bound in value.items())


_READERS = {
    "name": _text,
    "why": _text,
    "stack": _patterns,
    "not_stack": _patterns,
    "comm": _patterns,
    "not_comm": _patterns,
    "listens": _flag,
    "at_least": _bounds,
    "at_most": _bounds,
}
