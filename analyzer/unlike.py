"""What two recordings that are compared do not have in common, so that a difference may be of that and not of the load."""

from collections.abc import Iterator
from typing import Any

from offwake.analyzer.compare import Comparison
from offwake.analyzer.completeness import completeness
from offwake.analyzer.render.text import duration

__all__ = ["unlike"]

SHORT_S = 1.0
FACTS = {"host": "hosts", "kernel": "kernels", "cpus": "numbers of CPUs", "of": "threads recorded"}


def unlike(compared: Comparison, before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for everything that is not alike in two recordings (each one's `info()`), or not complete in one."""
    for fact, words in FACTS.items():
        if before[fact] != after[fact]:
            yield f"Different {words}: {before[fact]} before, {after[fact]} after."
    for name, info in (("before", before), ("after", after)):
        if not info["complete"]:
            yield f"The recording {name} is {completeness(info)}."
    long, short = sorted((compared.before.seconds, compared.after.seconds), reverse=True)
    if compared.normalize == "none" and long > 1.1 * short:
        yield f"Nothing is normalized, and one side is {long / short:.1f} times as long: compare per second."
    if short < SHORT_S:
        yield f"One side is only {duration(round(short * 1e9))} long: only large differences can stand out."
    weights = compared.before.profile.total_ns, compared.after.profile.total_ns
    if all(weights) and not (compared.before_ns.astype(bool) & compared.after_ns.astype(bool)).any():
        yield "The two have no stack in common."
