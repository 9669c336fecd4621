"""Changes: what got worse and what got better between two recordings, in words, the largest first.

Stacks that a person would tell in the same words are one change, and tested as one.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from offwake.analyzer.compare import WHOLE, Comparison
from offwake.analyzer.render.text import duration, percent
from offwake.analyzer.render.tree import ROOT, frame_key
from offwake.analyzer.words import MARK, in_words, place, system_call

__all__ = ["Change", "amount", "chance", "changes"]

UNIT = {"second": "/s", "none": ""}
SMALLEST = 1e-9
KERNEL, OPEN = "_[k]", "[open]"
WRAPPER = re.compile(r"_|pthread_|do_futex_wait|syscall$|\[|0x|lll_|clone|start_thread|std::")
"""Functions that only lead from a program's own code to a system call."""
NAMELESS = re.compile(r"\+0x[0-9a-f]+$")
EVERYWHERE = ("main", "thread_start")
FUNCTIONS = 3
"""So many of a program's own functions are named, the last one being nearest to the wait."""
MARKS = {
    "[preempted]": "was preempted",
    "[run queue]": "waited for a CPU",
    "[wake-up]": "waited for an idle CPU to wake up",
    "[blocked]": "was blocked",
    "[on CPU]": "ran",
    "[unknown]": "was in an unknown state",
}
Stack = tuple[str, ...]


class _Told(NamedTuple):
    """A stack in words: who did what, where, and what is said after that."""

    who: str
    did: str
    where: str = ""
    why: str = ""
    by: str = ""  # the thread that it waited for


class Change(NamedTuple):
    """What some stacks weigh before and after, normalized as `normalize` says.

    `follows` says that they waited for threads that changed alike themselves: a consequence, and not the cause. Of many
    changes few are looked at, so that their words are made when they are asked for.
    """

    told: _Told
    normalize: str
    before_ns: int
    after_ns: int
    p: float
    q: float
    stands_out: bool
    follows: bool
    ends: tuple[Stack, Stack]

    @property
    def delta_ns(self) -> int:
        """How much more there is after."""
        return self.after_ns - self.before_ns

    @property
    def words(self) -> str:
        """The change in a sentence."""
        return _sentence(self.told, self.delta_ns, self.normalize)

    @property
    def key(self) -> int:
        """The key of the last frame that all of the stacks have in common."""
        key = frame_key(0, ROOT)
        for one, other in zip(*self.ends, strict=False):
            if one != other:
                break
            key = frame_key(key, one)
        return key


def changes(compared: Comparison) -> list[Change]:
    """Return all changes: those that stand out, what follows from them, then the others; the largest difference first."""
    stacks = compared.union.stacks
    numbers: dict[_Told, int] = {}
    group = np.array([numbers.setdefault(_told(compared.view, stack), len(numbers)) for stack in stacks], np.int64)
    if not stacks:
        return []
    found, told = compared.grouped(group, len(numbers)), list(numbers)
    moved = {(told[number].who, bool(found.delta_ns[number] > 0)) for number in np.flatnonzero(found.stands_out)}
    _, first = np.unique(group, return_index=True)
    _, last = np.unique(group[::-1], return_index=True)
    ends = [(stacks[a], stacks[-1 - b]) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    columns = (found.before_ns, found.after_ns, found.p, found.q, found.stands_out)
    figures = zip(*(column.tolist() for column in columns), strict=True)
    rows = []
    for one, both, (before_ns, after_ns, p, q, stands_out) in zip(told, ends, figures, strict=True):
        follows = one.by != one.who and (one.by, after_ns > before_ns) in moved
        rows.append(Change(one, compared.normalize, before_ns, after_ns, p, q, stands_out, follows, both))
    order = np.lexsort((-np.abs(found.delta_ns), np.array([row.follows for row in rows]), ~found.stands_out))
    return [rows[number] for number in order.tolist()]


def amount(value_ns: int, normalize: str) -> str:
    """Write a normalized figure: `3.1 s/s`, `12.3 %`, or plain time."""
    return percent(value_ns, WHOLE) if normalize == "share" else duration(value_ns) + UNIT[normalize]


def _sentence(told: _Told, delta_ns: int, normalize: str) -> str:
    how_much = f"{amount(abs(delta_ns), normalize)} {'less' if delta_ns < 0 else 'more'}"
    if normalize == "share":
        how_much = how_much.replace("%", "points")
    return f"{told.who} {told.did} {how_much}{told.where}{told.why}"


def _told(view: str, frames: Stack) -> _Told:
    who, rest = frames[0] if frames else "nobody", frames[1:]
    if MARK in rest:
        return _Told(who, "waited", _where(rest[: rest.index(MARK)]), *_why(view, frames))
    if view == "wakeup" and rest:
        return _Told(rest[-1], "waited", "", f" until {who} woke it", who)
    if view == "run-queue" and rest:
        instead = f", while {rest[1]} ran" if len(rest) > 1 else ""
        return _Told(who, MARKS.get(rest[0], "waited for a CPU"), "", instead)
    if rest and rest[-1] in MARKS:
        return _Told(who, MARKS[rest[-1]], _where(rest[:-1]))
    return _Told(who, "ran" if view == "on-cpu" else "was off the CPU", _where(rest))


def _why(view: str, frames: Stack) -> tuple[str, str]:
    """Say who ended a wait, or what was at the end of its chain; and its name."""
    if frames[-1] == OPEN:
        return (
            ", still waiting at the end" if view == "off-wake" else ", in the end for what had not come by the end",
            "",
        )
    words, end, _ = in_words(frames)
    if view == "off-wake":
        return f", woken by {words}", words
    last = words.removesuffix(f", {end}").split(", waiting for ")[-1]
    return f", in the end for {last}" + ("" if last == end else f", {end}"), last


def _where(stack: Stack) -> str:
    """Name the place of a stack, root first, and the program's own functions that led there: ` in fsync under WALWrite`."""
    if not stack:
        return ""
    at = place(stack)
    call = system_call(stack).removesuffix("64")
    led = [name for name, plain in filter(None, map(_own, stack)) if plain != call and name != at]
    return f" in {at}" + (f" under {' → '.join(led[-FUNCTIONS:])}" if led else "")


@lru_cache(maxsize=20_000)
def _own(frame: str) -> tuple[str, str] | None:
    """Return a function of a program's own that says something, and what a system call of its would be called."""
    if frame in EVERYWHERE or frame.endswith(KERNEL) or WRAPPER.match(frame) or NAMELESS.search(frame):
        return None
    return frame, frame.removesuffix("64")


def chance(p: float) -> str:
    """Write a probability with two digits: `p 0.0012`."""
    return f"p {p:.2g}" if p >= SMALLEST else f"p < {SMALLEST:.0e}"
