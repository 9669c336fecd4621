"""Completeness: what is missing from a recording, and from a picture of it, in few words. Every picture says it.

The sentences that explain it, and say what to do, are the notices of facts.py.
"""

from collections.abc import Iterator
from typing import Any

from offwake.analyzer.heatmap import Heatmap
from offwake.analyzer.histogram import Histograms
from offwake.analyzer.profile import Profile
from offwake.analyzer.render.text import count, counted, duration, percent, weight

__all__ = ["completeness", "open_waits", "remarks", "wholeness"]

OPEN_WORTH_TELLING = 0.05
"""Share of what is shown from which on open waits are worth a sentence; most recordings have a few."""


def completeness(info: dict[str, Any]) -> str:
    """Return "complete", or what a recording (its `info()`) lacks: `not complete: 12 events lost, not ended`."""
    if info["complete"]:
        return "complete"
    missing = {
        f"{count(info['lost']['total'])} events lost": info["lost"]["total"],
        "CPUs came or went": info["cpu_changes"],
        "not ended": not info["ended"],
        f"{counted(info['damaged_bytes'], 'byte')} damaged": info["damaged_bytes"],
        "parts missing": info["missing_places"],
    }
    return f"not complete: {', '.join(words for words, is_so in missing.items() if is_so)}"


def wholeness(info: dict[str, Any]) -> list[str]:
    """Return what share of a recording's user stacks (its `info()`) is whole, and why most of the others are not; if any."""
    stacks = info["user_stacks"]
    if not stacks["total"]:
        return []
    why = f", others: {next(iter(stacks['why']))}" if stacks["why"] else ""
    return [f"{percent(stacks['whole'], stacks['total'])} of user stacks whole{why}"]


def remarks(found: Profile | Heatmap | Histograms) -> Iterator[str]:
    """Yield what of the selection is not shown, or only in part, and how much is shown."""
    said = {f"{duration(found.hidden_ns)} hidden: idle waits, and threads that slept throughout": found.hidden_ns}
    if isinstance(found, Profile):
        said = {f"{weight(found.total_ns, found.unit)} shown": found.hidden_ns} | said
        said[f"{duration(found.open_ns)} in open waits, which last longer than is known"] = found.open_ns
        said[f"{duration(found.unknown_ns)} unknown"] = found.unknown_ns if found.unit == "ns" else 0
    else:
        said = {f"{count(found.total)} in all": True} | said
        said[f"{count(found.open)} open: they last longer than is known"] = found.open
    yield from (words for words, is_so in said.items() if is_so)


def open_waits(found: Profile | Heatmap | Histograms) -> list[str]:
    """Return a sentence, if much of what is shown is in waits of which a part lies outside the recording."""
    if isinstance(found, Profile):
        part, whole, much = found.open_ns, found.total_ns, f"{duration(found.open_ns)} of {duration(found.total_ns)}"
    else:
        part, whole, much = found.open, found.total, f"{count(found.open)} of {count(found.total)}"
    if part <= OPEN_WORTH_TELLING * whole:
        return []
    return [f"{much} shown here are open waits: they began before the recording or did not end in it, and last longer."]
