"""The partition of lives computed from the events alone: slow, plain, and independent of the simulator's books.

`truth` and this must agree on every simulated recording; then both are what the analyzer must find.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.events import DEAD, Switch, Trace, WakeupNew, Waking
from tests.truth import Gap, gaps_of

__all__ = ["replay"]


@dataclass(frozen=True)
class _Evidence:
    """What is known of a thread at a moment: "known" (by the snapshot), "born", "in", "out", "waking" or "end"."""

    what: str
    time_ns: int
    cpu: int
    state: str | int = 0


@dataclass
class _Seen:
    """A thread and its evidence in the order of time, the first and the last always there."""

    tid: int
    evidence: list[_Evidence] = field(default_factory=list)


@dataclass(frozen=True)
class _Stretch:
    """The time between two switches, the wakings in it, and those of the stretch before."""

    first: _Evidence
    last: _Evidence
    wakings: list[_Evidence]
    earlier: list[_Evidence]

    def all(self, part: str) -> Counter[str]:
        return Counter({part: self.last.time_ns - self.first.time_ns})

    def woken(self) -> Counter[str]:
        woken_ns = self.wakings[0].time_ns
        return Counter(blocked=woken_ns - self.first.time_ns, run_queue=self.last.time_ns - woken_ns)


def replay(trace: Trace) -> list[tuple[int, Counter[str]]]:
    """Return every thread's id with the nanoseconds of its parts."""
    events = [event for event in trace.events if isinstance(event, Switch | Waking | WakeupNew)]
    events = [event for event in events if trace.began_ns <= event.time_ns <= trace.ended_ns]
    events.sort(key=lambda event: event.time_ns)
    first_switches: dict[int, Switch] = {}
    for event in events:
        if isinstance(event, Switch):
            first_switches.setdefault(event.cpu, event)
    gaps = gaps_of(trace)
    found = []
    for thread in _gather(trace, events):
        total, parts = Counter[str](), Counter[str]()
        for stretch in _stretches(thread):
            if "unknown" in parts:  # nobody knows since when it ran, so neither which wakings are of this time
                stretch = replace(stretch, earlier=[])
            parts = _judge(stretch, first_switches, gaps)
            total += parts
        found.append((thread.tid, total))
    return found


def _gather(trace: Trace, events: list[Switch | Waking | WakeupNew]) -> list[_Seen]:
    threads = [_Seen(one.tid, [_Evidence("known", trace.began_ns, one.cpu, one.state)]) for one in trace.threads]
    living = {thread.tid: thread for thread in threads}
    for event in events:
        if isinstance(event, WakeupNew):
            living[event.target] = _Seen(event.target, [_Evidence("born", event.time_ns, event.cpu)])
            threads.append(living[event.target])
        elif isinstance(event, Waking):
            living[event.target].evidence.append(_Evidence("waking", event.time_ns, event.cpu))
        else:
            if event.prev:
                state = 0 if event.preempted else event.state
                living[event.prev].evidence.append(_Evidence("out", event.time_ns, event.cpu, state))
                if event.state & DEAD:
                    del living[event.prev]
            if event.next:
                living[event.next].evidence.append(_Evidence("in", event.time_ns, event.cpu))
    for thread in living.values():
        thread.evidence.append(_Evidence("end", trace.ended_ns, -1))
    return threads


def _stretches(thread: _Seen) -> Iterator[_Stretch]:
    first, *rest = thread.evidence
    wakings: list[_Evidence] = []
    earlier: list[_Evidence] = []
    for evidence in rest:
        if evidence.what == "waking":
            wakings.append(evidence)
        else:
            yield _Stretch(first, evidence, wakings, earlier)
            first, wakings, earlier = evidence, [], wakings


def _judge(stretch: _Stretch, first_switches: dict[int, Switch], gaps: list[Gap]) -> Counter[str]:
    first, last = stretch.first, stretch.last
    if first.what == "known":
        parts, running = _judge_unseen(stretch, first_switches)
    else:
        parts, running = _judge_seen(stretch), first.what == "in"
    for gap in gaps:
        if gap.begin_ns < last.time_ns and first.time_ns < gap.end_ns and (gap.cpu == first.cpu or not running):
            return stretch.all("unknown")
    return parts


def _judge_unseen(stretch: _Stretch, first_switches: dict[int, Switch]) -> tuple[Counter[str], bool]:
    """Judge a thread's time before its first switch; return whether it ran, too."""
    first, last = stretch.first, stretch.last
    switch = first_switches.get(first.cpu)
    if last.what == "out":
        ran = switch is not None and switch.time_ns == last.time_ns
        return stretch.all("on_cpu" if ran else "unknown"), True
    if first.state == "R" and last.what == "end" and not switch:
        return stretch.all("on_cpu"), True
    if stretch.wakings:
        return stretch.woken(), False
    return stretch.all("unknown" if last.what == "in" or first.state == "R" else "blocked"), False


def _judge_seen(stretch: _Stretch) -> Counter[str]:
    first, last = stretch.first, stretch.last
    if first.what == "in":
        ran = last.what == "end" or (last.what == "out" and last.cpu == first.cpu)
        return stretch.all("on_cpu" if ran else "unknown")
    if last.what == "out":
        return stretch.all("unknown")
    if first.what == "born":
        return stretch.all("run_queue")
    if not first.state:
        return stretch.all("preempted")
    if stretch.wakings:
        return stretch.woken()
    if last.what == "end":
        return stretch.all("blocked")
    return stretch.all("run_queue" if stretch.earlier else "unknown")
