"""Rings that are disabled are written into no more: so a recording ends, however much goes on."""

import os
import time
from contextlib import ExitStack

from offwake.recorder.kernel.perf_event import read_counts
from offwake.recorder.programs.loading import load
from offwake.recorder.programs.program_text import Build
from offwake.recorder.rings import Rings
from offwake.recorder.sources import chosen_sources


def test_no_event_is_on_after_they_were_disabled() -> None:
    with ExitStack() as stack:
        sources = chosen_sources(["sched", "on-cpu"])
        program = load(sources, Build(os.getpid(), user_stack_bytes=64 << 10))
        stack.callback(program.close)
        rings = Rings(program, sources, 1 << 20, stack)

        def has_gone_on() -> list[bool]:
            """Tell of every event whether it was on while some time passed."""
            events = [event for cpu in rings.cpus for event in (*cpu.events, *([cpu.lessons.event] if cpu.lessons else []))]
            before = [read_counts(event).enabled_ns for event in events]
            time.sleep(0.01)
            return [read_counts(event).enabled_ns > then for event, then in zip(events, before, strict=True)]

        assert all(has_gone_on())
        rings.disable()
        assert not any(has_gone_on())
        events, now_ns = len(rings.events), time.monotonic_ns()
        assert [rings.follow(now_ns, now_ns) for _ in range(3)] == [[], [], []], "no CPU is taken for one that went"
        assert len(rings.events) == events
