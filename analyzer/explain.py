"""Why waits are called idle, or are not: each decision with the figures that it rests on."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.idle import Rule
from offwake.analyzer.intervals import blocked_ns, is_blocked
from offwake.analyzer.scope import Scope
from offwake.analyzer.search import matching_names
from offwake.analyzer.select import Selection
from offwake.analyzer.verdicts import Verdicts
from offwake.analyzer.words import place

if TYPE_CHECKING:
    from offwake.analyzer.recording import Recording

__all__ = ["Decision", "Reason", "explain"]


@dataclass(frozen=True)
class Reason:
    """One condition of a rule: what it wants, and what was found; None where it is no figure."""

    key: str
    wanted: str
    found: float | None
    holds: bool


@dataclass
class Decision:
    """Waits of threads of one name at one stack: `rule` makes them idle; if none does, `nearest` came nearest, if any.

    `reasons` are the conditions of whichever it is, with the figures of the thread that waited longest. `waited_for_ns`
    says which threads, by name, waited for these meanwhile, without idle waits.
    """

    comm: str
    stack: list[str]
    rule: Rule | None
    nearest: Rule | None
    reasons: list[Reason]
    threads: set[int] = field(default_factory=set)
    waits: int = 0
    blocked_ns: int = 0
    waited_for_ns: Counter[str] = field(default_factory=Counter)

    @property
    def place(self) -> str:
        """In what the threads waited: the function, and the system call if there is one."""
        return place(self.stack)


def explain(recording: "Recording", selection: Selection) -> list[Decision]:
    """Return the decisions on the selected waits, the longest first. Figures are those of the whole recording.

    A pattern to grep is looked for in the name of the threads and in the stack that waited, not in that of who woke them.
    """
    verdicts = recording.idle(selection.idle_rules)
    evidence = verdicts.evidence
    waits, waited_ns = _selected(recording, selection, verdicts)
    waiters = _waiters(verdicts)
    found: dict[tuple[str, str, int], Decision] = {}
    for group in np.argsort(-waited_ns, kind="stable").tolist():
        if not waits[group]:
            continue
        comm, text, rule = _kind(evidence.comm[group], evidence.text[group]), evidence.text[group], verdicts.rule[group]
        key = (comm, text, int(rule))
        if key not in found:
            found[key] = _decision(comm, group, verdicts)
        found[key].threads.add(int(evidence.thread[group]))
        found[key].waits += int(waits[group])
        found[key].blocked_ns += int(waited_ns[group])
        found[key].waited_for_ns.update(waiters.get(group, {}))
    decisions = sorted(found.values(), key=lambda decision: -decision.blocked_ns)
    if selection.grep is None:
        return decisions
    wanted = matching_names(selection.grep, {name for decision in decisions for name in (decision.comm, *decision.stack)})
    return [decision for decision in decisions if not wanted.isdisjoint((decision.comm, *decision.stack))]


def _selected(
    recording: "Recording", selection: Selection, verdicts: Verdicts
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many selected waits each group has, and their time."""
    whole = Scope(recording, replace(selection, show_all=True), selection.show_all)
    sums = np.zeros((len(verdicts.evidence), 2), np.int64)
    for batch in whole.replay:
        rows, _ = whole.waits(batch.activity.intervals, is_blocked, blocked_ns)
        groups = verdicts.evidence.groups(rows)
        np.add.at(sums[:, 0], groups, 1)
        np.add.at(sums[:, 1], groups, blocked_ns(rows))
    return sums[:, 0], sums[:, 1]


def _decision(comm: str, group: int, verdicts: Verdicts) -> Decision:
    number = int(verdicts.rule[group])
    is_idle = number >= 0
    shown = number if is_idle else verdicts.nearest(group)
    rule = verdicts.rules[shown] if shown >= 0 else None
    reasons = [
        Reason(
            part.key, part.wanted, None if part.figures is None else float(part.figures[group]), bool(part.holds[group])
        )
        for part in (verdicts.conditions[shown] if rule else ())
    ]
    stack = verdicts.evidence.text[group].split(";")[:-1]
    return Decision(comm, stack, rule if is_idle else None, None if is_idle else rule, reasons)


def _waiters(verdicts: Verdicts) -> dict[int, Counter[str]]:
    """Return of each group who waited for its threads meanwhile, by name."""
    evidence, found = verdicts.evidence, dict[int, Counter[str]]()
    for (waiter, group), ns in zip(evidence.pairs.tolist(), evidence.pair_ns.tolist(), strict=True):
        if verdicts.rule[waiter] < 0:
            found.setdefault(group, Counter())[_kind(evidence.comm[waiter], evidence.text[waiter])] += ns
    return found


def _kind(comm: str, text: str) -> str:
    """Name threads alike: kernel threads tell their CPU and their work after a slash."""
    return comm.partition("/")[0] if ";kthread_[k];" in text else comm
