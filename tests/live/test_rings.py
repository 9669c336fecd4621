"""Into rings that are disabled programs alone write, while they are attached: so a recording ends, however much goes on."""

import os
import time
from contextlib import ExitStack

from offwake.recorder.kernel.perf_event import read_counts
from offwake.recorder.programs.loading import load
from offwake.recorder.programs.program_text import Build
from offwake.recorder.rings import Rings
from offwake.recorder.sources import chosen_sources


def test_only_what_programs_write_to_is_on_after_they_were_disabled() -> None:
    with ExitStack() as stack:
        sources = chosen_sources(["sched", "on-cpu"])
        program = load(sources, Build(os.getpid(), user_stack_bytes=64 << 10))
        stack.callback(program.close)
        rings = Rings(program, sources, 1 << 20, stack)

        def on() -> set[str]:
            """Name the events that were on while some time passed."""
            events = [event for cpu in rings.cpus for event in cpu.events]
            before = {event: read_counts(event).enabled_ns for event in events}
            time.sleep(0.01)
            return {event.spec.name for event in events if read_counts(event).enabled_ns > before[event]}

        assert on() == {"with-stack", "without-stack", "kernel-stack", "on-cpu", "side-band"}
        rings.disable()
        assert on() == {"with-stack", "without-stack", "kernel-stack"}
        events, now_ns = len(rings.events), time.monotonic_ns()
        assert [rings.follow(now_ns, now_ns) for _ in range(3)] == [[], [], []], "no CPU is taken for one that went"
        assert len(rings.events) == events
