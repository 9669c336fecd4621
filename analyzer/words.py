"""Waits in words: in what a thread waits, and what a stack of the chain view says, as a person would say it.

Read from a profile's frames, so that merged profiles speak as well.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from offwake.analyzer.profile import Profile

__all__ = ["Reason", "Wait", "called", "in_words", "longest_waits", "place", "system_call", "waited_in"]

MARK = "--"
# Frames of every wait: they say that it waits, not in what.
SCHEDULER = ("__schedule_[k]", "schedule_[k]", "schedule_", "io_schedule", "preempt_schedule", "__cond_resched")
_SYSTEM_CALL = re.compile(r"(?:__(?:x64|ia32|arm64)_sys_|ksys_|kernel_)(\w+)_\[k\]")
DOING = {
    "[on CPU]": "running",
    "[run queue]": "waiting for a CPU",
    "[preempted]": "preempted",
    "[unknown]": "in an unknown state",
    "[truncated]": "and so on",
}
HOPS_SHOWN = 4
HIDDEN = "what is hidden"
JOINED = re.compile(r"\[(?P<what>.+), (?P<took>\d+ [nµm]?s)\]")
"""A device's answer: what it was, and how long it took."""


@dataclass
class Reason:
    """Why threads waited, in words, what was at the end of it, for how long in all, and how fast a device there answered."""

    words: str
    end: str
    value_ns: int = 0
    took: dict[str, int] = field(default_factory=dict)

    @property
    def usually(self) -> str:
        """How long the device took, by most of the time; "" where the chain ends in none."""
        return max(self.took, key=lambda took: self.took[took], default="")


@dataclass
class Wait:
    """What threads of one name waited in: nanoseconds in all, how many waits, and the reasons, the longest first."""

    target: str
    waited_in: str
    value_ns: int = 0
    count: int = 0
    reasons: list[Reason] = field(default_factory=list)

    @property
    def ends(self) -> list[tuple[str, int]]:
        """What was at the ends of all chains, by whatever hands, and for how many nanoseconds; the longest first."""
        found: dict[str, int] = {}
        for reason in self.reasons:
            found[reason.end] = found.get(reason.end, 0) + reason.value_ns
        return sorted(found.items(), key=lambda item: -item[1])


def longest_waits(off_wake: Profile, chains: Profile, at_most: int) -> list[Wait]:
    """Return the longest waits by target and place, with their reasons from the chains (by time) of the same waits."""
    waits: dict[tuple[str, str], Wait] = {}
    for frames, weight in off_wake:
        key = frames[0], waited_in(frames)
        wait = waits.setdefault(key, Wait(*key))
        wait.value_ns += weight.value_ns
        wait.count += weight.count
    reasons: dict[tuple[str, str], dict[str, Reason]] = {}
    for frames, weight in chains:
        words, end, took = in_words(frames)
        reason = reasons.setdefault((frames[0], waited_in(frames)), {}).setdefault(words, Reason(words, end))
        reason.value_ns += weight.value_ns
        if took:
            reason.took[took] = reason.took.get(took, 0) + weight.value_ns
    longest = sorted(waits.items(), key=lambda item: -item[1].value_ns)[:at_most]
    for key, wait in longest:
        wait.reasons = sorted(reasons.get(key, {}).values(), key=lambda reason: -reason.value_ns)
    return [wait for _, wait in longest]


def waited_in(frames: tuple[str, ...]) -> str:
    """Name the place of a wait by a stack of `off-wake` or `chain`."""
    return place(frames[1 : frames.index(MARK)])


def place(blocked: Sequence[str]) -> str:
    """Name the place of a wait by its stack, root first: the function, and the system call if there is one."""
    inner = next(filter(None, map(_says_where, reversed(blocked))), "")
    return " in ".join(filter(None, (inner, system_call(blocked)))) or "[no stack]"


@lru_cache(maxsize=20_000)
def _says_where(frame: str) -> str:
    """Return a function that says in what was waited, or "" if it is the scheduler's."""
    return "" if frame.startswith(SCHEDULER) else frame.removesuffix("_[k]")


def system_call(stack: Sequence[str]) -> str:
    """Return the system call of a stack, root first, or "" if there is none."""
    return next(filter(None, map(called, stack)), "")


@lru_cache(maxsize=20_000)
def called(frame: str) -> str:
    """Return the system call that a frame is the entry of, or "" if it is of none."""
    match = _SYSTEM_CALL.fullmatch(frame)
    return match[1] if match else ""


def in_words(chain: tuple[str, ...]) -> tuple[str, str, str]:
    """Say who was waited for, hop by hop, and what the last one did; what was at the end; and how long a device there took.

    `worker, waiting for vda read 4 KiB`, `vda read 4 KiB`, `8 ms`; or `worker, running`, `running`, nothing.
    """
    hops: list[list[str]] = []
    for frame in chain[chain.index(MARK) :]:
        if frame == MARK:
            hops.append([])
        else:
            hops[-1].append(frame)
    hops = [hop for hop in hops if hop]  # frames can be left out, marks cannot
    if not hops:
        return HIDDEN, HIDDEN, ""
    doing = DOING.get(hops[-1][-1], "")
    if doing and len(hops[-1]) > 1:
        hops[-1].pop()
    took = JOINED.fullmatch(hops[-1][-1])
    names = [_name(hop[-1]) for hop in hops]
    if len(names) > HOPS_SHOWN:
        names[HOPS_SHOWN - 1 : -1] = [f"{len(names) - HOPS_SHOWN} more"]
    words = ", waiting for ".join(names) + (f", {doing}" if doing else "")
    return words, doing or names[-1], took["took"] if took else ""


def _name(frame: str) -> str:
    """Say who or what ended a wait."""
    if frame == "[open]":
        return "something that had not come by the end"
    if joined := JOINED.fullmatch(frame):
        return joined["what"]
    if not (frame.startswith("[") and frame.endswith("]")):
        return frame
    return f"{'' if frame.startswith('[TCP ') else 'the '}{frame[1:-1]}"
