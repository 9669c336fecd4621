"""Which waits are idle: rules, applied to a recording's evidence, with what decided."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.evidence import Evidence
from offwake.analyzer.idle import IdleRules, Rule
from offwake.analyzer.intervals import is_blocked

__all__ = ["Condition", "Verdicts", "agreed", "judge"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Condition:
    """One condition of a rule. `figures` is what was found of each group (float64, G), None where it is no figure."""

    key: str
    wanted: str
    holds: Mask
    figures: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Verdicts:
    """What rules say of every group of waits: `rule` is the number of the one that makes it idle, −1 for none (int32, G).

    `conditions` are each rule's, as they were found when it was tried.
    """

    rules: tuple[Rule, ...]
    evidence: Evidence
    rule: NDArray[np.int32]
    conditions: tuple[tuple[Condition, ...], ...]

    def idle(self, intervals: NDArray[np.void]) -> Mask:
        """Tell which intervals, of any pass over the recording, are idle waits."""
        found = is_blocked(intervals)
        found[found] = self.rule[self.evidence.groups(intervals[found])] >= 0
        return found

    def nearest(self, group: int) -> int:
        """Return the number of the first rule that only one condition keeps away, other than stack and name; −1 for none."""
        for number, conditions in enumerate(self.conditions):
            failed = [condition for condition in conditions if not condition.holds[group]]
            if len(failed) == 1 < len(conditions) and failed[0].key not in ("stack", "comm"):
                return number
        return -1


def agreed(verdicts: tuple[Verdicts, ...]) -> tuple[Verdicts, ...]:
    """Return the verdicts of several recordings, so that none hides what another one shows.

    Waits of threads of one name at one stack, mostly idle in one recording and mostly not in another, are idle in none.
    """
    idle: dict[tuple[str, str], set[bool]] = {}
    keys = [list(zip(one.evidence.comm, one.evidence.text, strict=True)) for one in verdicts]
    for one, mine in zip(verdicts, keys, strict=True):
        sums: dict[tuple[str, str], list[float]] = {}
        for key, blocked_ns, rule in zip(mine, one.evidence.blocked_ns.tolist(), one.rule.tolist(), strict=True):
            sums.setdefault(key, [0.0, 0.0])[rule >= 0] += blocked_ns
        for key, (shown_ns, idle_ns) in sums.items():
            idle.setdefault(key, set()).add(idle_ns > shown_ns)
    disputed = {key for key, found in idle.items() if len(found) > 1}
    found = []
    for one, mine in zip(verdicts, keys, strict=True):
        shown = np.array([key in disputed for key in mine], np.bool_)
        found.append(replace(one, rule=np.where(shown, np.int32(-1), one.rule)))
    return tuple(found)


def judge(evidence: Evidence, rules: IdleRules) -> Verdicts:
    """Try the rules in their order on all groups of waits."""
    rule = np.full(len(evidence), -1, np.int32)
    judged = []
    for number, tried in enumerate(rules.rules):
        conditions = tuple(_conditions(tried, evidence, rule >= 0))
        fits = np.logical_and.reduce([condition.holds for condition in conditions])
        rule[fits & (rule < 0)] = number
        judged.append(conditions)
    return Verdicts(rules.rules, evidence, rule, tuple(judged))


def _conditions(rule: Rule, evidence: Evidence, idle: Mask) -> Iterator[Condition]:
    if rule.stack or rule.not_stack:
        yield Condition("stack", "one of the rule's", _fitting(rule.fits_stack, evidence.text))
    if rule.comm or rule.not_comm:
        yield Condition("comm", "one of the rule's", _fitting(rule.fits_comm, evidence.comm))
    if rule.listens is not None:
        listens = np.isin(evidence.tgid, list(evidence.listeners))
        yield Condition("listens", str(rule.listens).lower(), listens == rule.listens)
    for bounds, sign in ((rule.at_least, 1), (rule.at_most, -1)):
        for figure, bound in bounds:
            found = evidence.waited_for_share(idle) if figure == "waited_for_share" else evidence.figures[figure]
            yield Condition(figure, f"{'≥' if sign > 0 else '≤'} {bound:g}", sign * (found - bound) >= 0, found)


def _fitting(fits: Callable[[str], bool], texts: list[str]) -> Mask:
    """Ask once for each text."""
    answers = {text: fits(text) for text in dict.fromkeys(texts)}
    return np.array([answers[text] for text in texts], np.bool_)
