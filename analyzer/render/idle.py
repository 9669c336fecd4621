"""What pictures leave out as idle, and why, in words; what they do not leave out, and what came nearest."""

from collections.abc import Iterator
from dataclasses import replace
from glob import escape
from math import isfinite

from offwake.analyzer.explain import Decision, Reason
from offwake.analyzer.render.sections import Line, Opens, Section
from offwake.analyzer.render.summary import waits_there
from offwake.analyzer.render.text import count, counted, duration, percent
from offwake.analyzer.select import Selection

__all__ = ["idle_sections"]

IDLE_SHOWN, OTHERS_SHOWN, WAITERS_SHOWN = 5, 15, 3


def idle_sections(decisions: list[Decision], selection: Selection) -> Iterator[Section]:
    """Yield what was decided of the selected waits: first what is idle, by rule, then what is not."""
    total_ns = _sum(decisions)
    idle = [decision for decision in decisions if decision.rule]
    others = [decision for decision in decisions if not decision.rule]
    share = percent(_sum(idle), total_ns, 0)
    yield Section(f"Of {duration(total_ns)} blocked, {duration(_sum(idle))} ({share}) is idle: pictures leave it out")
    rules = dict.fromkeys(decision.rule for decision in idle)
    by_rule = [(rule, [decision for decision in idle if decision.rule is rule]) for rule in rules]
    for rule, made in sorted(by_rule, key=lambda part: -_sum(part[1])):
        lines = []
        for decision in made[:IDLE_SHOWN]:
            lines.append(_who(decision, selection))
            figures = [reason for reason in decision.reasons if reason.found is not None]
            if len(figures) > 1:
                lines.append(Line(", ".join(map(_figure, figures)), depth=1))
        title = f"Idle: {rule.name if rule else ''}, {duration(_sum(made))}. {rule.why if rule else ''}"
        yield Section(title, [*lines, *_rest(made[IDLE_SHOWN:])])
    lines = []
    for decision in others[:OTHERS_SHOWN]:
        lines += [_who(decision, selection), *(Line(sentence, depth=1) for sentence in _why_not(decision))]
    yield Section(f"Not idle, {duration(_sum(others))}", [*lines, *_rest(others[OTHERS_SHOWN:])])


def _who(decision: Decision, selection: Selection) -> Line:
    about = f"{counted(len(decision.threads), 'thread')}, {counted(decision.waits, 'wait')}"
    comm = escape(decision.comm) + ("*" if "kthread_[k]" in decision.stack else "")  # their names go on after a slash
    opens = Opens("off-wake", waits_there(replace(selection, show_all=True), comm, decision.place))
    return Line(f"{decision.comm}: {decision.place} ({about})", duration(decision.blocked_ns), 0, opens)


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


def _rest(decisions: list[Decision]) -> Iterator[Line]:
    if decisions:
        yield Line(f"in {count(len(decisions))} more", duration(_sum(decisions)))


def _sum(decisions: list[Decision]) -> int:
    return sum(decision.blocked_ns for decision in decisions)
