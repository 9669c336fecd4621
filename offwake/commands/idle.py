"""`offwake idle`: which waits are idle, and why; which are not, and what came nearest."""

import argparse
import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from offwake.analyzer.explain import Decision, Reason, explain
from offwake.analyzer.idle import default_text
from offwake.analyzer.render.text import count, duration, percent, printable
from offwake.commands.arguments import add_selection, opened, selection, status, write_output
from offwake.errors import UsageError

__all__ = ["add_arguments", "run"]

IDLE_SHOWN, OTHERS_SHOWN, WAITERS_SHOWN = 5, 15, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `idle`."""
    parser.add_argument("file", type=Path, metavar="FILE", nargs="?", help="a recording")
    parser.add_argument("--rules", action="store_true", help="print the default rules, to be copied and edited")
    parser.add_argument("--json", action="store_true", help="one JSON document, with every decision")
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Explain every decision, or print the rules."""
    if args.rules:
        write_output(None, default_text())
        return 0
    if args.file is None:
        raise UsageError("FILE is missing: the recording whose waits are to be explained; --rules needs none")
    with opened(args.file) as recording:
        decisions = explain(recording, selection(args))
        if args.json:
            print(json.dumps([_document(decision) for decision in decisions]))
        else:
            print("\n".join(printable(line) for line in _lines(decisions)))
    return status(recording)


def _lines(decisions: list[Decision]) -> Iterator[str]:
    total_ns = _sum(decisions)
    idle = [decision for decision in decisions if decision.rule]
    others = [decision for decision in decisions if not decision.rule]
    share = percent(_sum(idle), total_ns, 0)
    yield f"Of {duration(total_ns)} blocked, {duration(_sum(idle))} ({share}) is idle: pictures leave it out"
    rules = dict.fromkeys(decision.rule for decision in idle)
    by_rule = [(rule, [decision for decision in idle if decision.rule is rule]) for rule in rules]
    for rule, made in sorted(by_rule, key=lambda part: -_sum(part[1])):
        yield ""
        yield f"Idle: {rule.name if rule else ''}, {duration(_sum(made))}. {rule.why if rule else ''}"
        for decision in made[:IDLE_SHOWN]:
            yield _who(decision)
            figures = [reason for reason in decision.reasons if reason.found is not None]
            if len(figures) > 1:
                yield f"{'':14}{', '.join(map(_figure, figures))}"
        yield from _rest(made[IDLE_SHOWN:])
    yield ""
    yield f"Not idle, {duration(_sum(others))}"
    for decision in others[:OTHERS_SHOWN]:
        yield _who(decision)
        yield from (f"{'':14}{sentence}" for sentence in _why_not(decision))
    yield from _rest(others[OTHERS_SHOWN:])


def _who(decision: Decision) -> str:
    threads = f"{count(len(decision.threads))} thread{'s' if len(decision.threads) > 1 else ''}"
    waits = f"{count(decision.waits)} wait{'s' if decision.waits > 1 else ''}"
    return f"  {duration(decision.blocked_ns):>10}  {decision.comm}: {decision.place} ({threads}, {waits})"


def _why_not(decision: Decision) -> Iterator[str]:
    if decision.nearest:
        failed = [f"{_figure(reason)} (must be {reason.wanted})" for reason in decision.reasons if not reason.holds]
        yield f"nearest to “{decision.nearest.name}”, but {', '.join(failed)}"
    if waiters := (+decision.waited_for_ns).most_common(WAITERS_SHOWN):
        yield "waited for by " + ", ".join(f"{comm} {duration(ns)}" for comm, ns in waiters)


def _figure(reason: Reason) -> str:
    if reason.found is None:
        return reason.key
    return f"{reason.key} {reason.found:.3g}" if isfinite(reason.found) else f"{reason.key} not known"


def _rest(decisions: list[Decision]) -> Iterator[str]:
    if decisions:
        yield f"  {duration(_sum(decisions)):>10}  in {count(len(decisions))} more"


def _sum(decisions: list[Decision]) -> int:
    return sum(decision.blocked_ns for decision in decisions)


def _document(decision: Decision) -> dict[str, Any]:
    return {
        "comm": decision.comm,
        "stack": decision.stack,
        "threads": len(decision.threads),
        "waits": decision.waits,
        "blocked_ns": decision.blocked_ns,
        "idle": decision.rule is not None,
        "rule": decision.rule.name if decision.rule else None,
        "nearest": decision.nearest.name if decision.nearest else None,
        "conditions": [
            {"key": reason.key, "wanted": reason.wanted, "found": _finite(reason.found), "holds": reason.holds}
            for reason in decision.reasons
        ],
        "waited_for_ns": dict(decision.waited_for_ns.most_common()),
    }


def _finite(found: float | None) -> float | None:
    return found if found is not None and isfinite(found) else None
