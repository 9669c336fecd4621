"""Changes: what got worse and what got better between two recordings, in words, the largest first.

Stacks that a person would tell in the same words are one change, and tested as one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offwake.analyzer.compare import WHOLE, Comparison
from offwake.analyzer.render.text import duration, percent
from offwake.analyzer.render.tree import ROOT, frame_key
from offwake.analyzer.words import MARK, SYSTEM_CALL, in_words, place

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


@dataclass(frozen=True)
class _Told:
    """A stack in words: who did what, where, and what is said after that."""

    who: str
    did: str
    where: str = ""
    why: str = ""
    by: str = ""  # the thread that it waited for


@dataclass(frozen=True)
class Change:
    """What some stacks weigh before and after, normalized, in words. `key` is the frame that all of them share.

    `follows` says that they waited for threads that changed alike themselves: a consequence, and not the cause.
    """

    words: str
    before_ns: int
    after_ns: int
    p: float
    q: float
    stands_out: bool
    follows: bool
    key: int

    @property
    def delta_ns(self) -> int:
        """How much more there is after."""
        return self.after_ns - self.before_ns


def changes(compared: Comparison) -> list[Change]:
    """Return all changes: those that stand out, what follows from them, then the others; the largest difference first."""
    stacks = compared.union.stacks
    numbers: dict[_Told, int] = {}
    group = np.array([numbers.setdefault(_told(compared.view, stack), len(numbers)) for stack in stacks], np.int64)
    if not stacks:
        return []
    found, first, last = compared.grouped(group, len(numbers)), dict[int, int](), dict[int, int]()
    for row, number in enumerate(group.tolist()):
        first.setdefault(number, row)
        last[number] = row
    moved = {
        (told.who, bool(found.delta_ns[number] > 0)) for told, number in numbers.items() if found.stands_out[number]
    }
    rows = []
    for told, number in numbers.items():
        before_ns, after_ns = int(found.before_ns[number]), int(found.after_ns[number])
        change = Change(
            words=_sentence(told, after_ns - before_ns, compared.normalize),
            before_ns=before_ns,
            after_ns=after_ns,
            p=float(found.p[number]),
            q=float(found.q[number]),
            stands_out=bool(found.stands_out[number]),
            follows=told.by != told.who and (told.by, after_ns > before_ns) in moved,
            key=_shared_key(stacks[first[number]], stacks[last[number]]),
        )
        rows.append(change)
    return sorted(rows, key=lambda row: (not row.stands_out, row.follows, -abs(row.delta_ns), row.words))


def amount(value_ns: int, normalize: str) -> str:
    """Write a normalized figure: `3.1 s/s`, `12.3 %`, or plain time."""
    return percent(value_ns, WHOLE) if normalize == "share" else duration(value_ns) + UNIT[normalize]


def _sentence(told: _Told, delta_ns: int, normalize: str) -> str:
    how_much = f"{amount(abs(delta_ns), normalize)} {'less' if delta_ns < 0 else 'more'}"
    if normalize == "share":
        how_much = how_much.replace("%", "points")
    return f"{told.who} {told.did} {how_much}{told.where}{told.why}"


def _told(view: str, frames: Stack) -> _Told:
    who, *rest = frames or ("nobody",)
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


def _where(stack: Sequence[str]) -> str:
    """Name the place of a stack, root first, and the program's own functions that led there: ` in fsync under WALWrite`."""
    if not stack:
        return ""
    call = next((match[1] for frame in stack if (match := SYSTEM_CALL.fullmatch(frame))), "").removesuffix("64")
    own = [frame for frame in stack if not (frame.endswith(KERNEL) or WRAPPER.match(frame) or NAMELESS.search(frame))]
    at, led = place(stack), [name for name in own if name.removesuffix("64") != call and name not in EVERYWHERE]
    led = [name for name in led if name != at][-FUNCTIONS:]
    return f" in {at}" + (f" under {' → '.join(led)}" if led else "")


def _shared_key(first: Stack, last: Stack) -> int:
    """Return the key of the last frame that two stacks, and so all between them, have in common."""
    key = frame_key(0, ROOT)
    for one, other in zip(first, last, strict=False):
        if one != other:
            break
        key = frame_key(key, one)
    return key


def chance(p: float) -> str:
    """Write a probability with two digits: `p 0.0012`."""
    return f"p {p:.2g}" if p >= SMALLEST else f"p < {SMALLEST:.0e}"
