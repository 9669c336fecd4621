"""What waits in the kernel to be sent together: none of it is lost unseen."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from offwake.recorder.programs.loading import load
from offwake.recorder.programs.program import Program, Tally
from offwake.recorder.programs.program_text import Build
from offwake.recorder.sources import all_sources


@pytest.fixture
def program() -> Iterator[Program]:
    """The programs of the scheduler's source, which have run for some time without a ring to write into."""
    found = load([all_sources()["sched"]], Build(recorder=os.getpid(), user_stack_bytes=64 << 10))
    try:
        found.attach()
        subprocess.run(["perf", "bench", "sched", "pipe", "-l", "1000"], check=True, capture_output=True)
        found.detach()
        yield found
    finally:
        found.close()


def total(program: Program) -> Tally:
    tallies = [tally for kinds in program.tallies().values() for tally in kinds.values()]
    return sum(tallies, Tally())


def test_what_could_never_be_sent_is_counted_as_lost(program: Program) -> None:
    before = total(program)
    assert before.stored and before.failed
    assert (before.attempted, before.no_ring) == (before.stored + before.failed, before.failed)
    program.send_waiting()
    assert total(program) == before, "it still waits: there is no ring"
    program.give_up_waiting(with_ring=set())
    assert total(program) == Tally(before.attempted, 0, before.attempted, before.attempted)
