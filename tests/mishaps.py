"""What goes wrong between a CPU and its ring: records out of order, and records lost."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from tests.events import DEAD, Event, Lost, Sample, Switch, Trace, WakeupNew, Waking

__all__ = ["disordered", "with_losses"]

RING_EVENTS = (Switch, Waking, WakeupNew, Sample)


def disordered(trace: Trace, random: Random) -> Trace:
    """Return the trace with some neighbours on a CPU swapped, as when an interrupt nests between clock and ring."""
    events = list(trace.events)
    for cpu in range(trace.cpus):
        places = [place for place, event in enumerate(events) if event.cpu == cpu and isinstance(event, RING_EVENTS)]
        pairs = list(zip(places, places[1:], strict=False))[::2]
        for first, second in pairs:
            if events[first].time_ns < events[second].time_ns and random.random() < 0.2:
                events[first], events[second] = events[second], events[first]
    return replace(trace, events=events)


def with_losses(trace: Trace, random: Random, gaps: int) -> tuple[Trace, frozenset[Event]]:
    """Drop runs of a CPU's records, each with a LOST record behind it; return what is left, and what is gone.

    Beginnings and ends of lives are never lost, so that it stays known who lived when; nor is the first switch-in of a
    thread that was runnable at the beginning, without which it looks as if it had run since.
    """
    lasting = set(_lasting(trace))
    lost: dict[Event, list[Event]] = {}
    rings: list[list[Event]] = [
        [event for event in trace.events if event.cpu == cpu and isinstance(event, RING_EVENTS)]
        for cpu in range(trace.cpus)
    ]
    for _ in range(gaps):
        ring = random.choice(rings)
        begin = random.randrange(max(1, len(ring)))
        run = ring[begin : begin + random.randrange(1, 12)]
        if any(event in lasting or event in lost for event in ring[max(0, begin - 1) : begin + len(run) + 1]):
            continue
        before_ns = ring[begin - 1].time_ns if begin else 0
        following = ring[begin + len(run) :]
        if run and following and max(trace.began_ns, before_ns) < following[0].time_ns:
            lost[following[0]] = run
    gone = frozenset(event for run in lost.values() for event in run)
    events: list[Event] = []
    for event in trace.events:
        if event in lost:
            events.append(Lost(event.time_ns, event.cpu, len(lost[event])))
        if event not in gone:
            events.append(event)
    return replace(trace, events=events), gone


def _lasting(trace: Trace) -> Iterator[Event]:
    """Yield the records that must stay; those from before the recording do, too."""
    unseen = {thread.tid for thread in trace.threads if thread.state == "R"}
    for event in trace.events:
        if event.time_ns < trace.began_ns or isinstance(event, WakeupNew):
            yield event
        elif isinstance(event, Switch) and (event.state & DEAD or event.next in unseen):
            unseen.discard(event.next)
            yield event
