"""Sources on the running kernel: one that it cannot give costs only itself."""

import os

from offwake.recorder.programs.loading import load
from offwake.recorder.programs.program import Program
from offwake.recorder.programs.program_text import Build
from offwake.recorder.sources import Event, Field, Source, all_sources

TID = Field("tid", "u4", "tid")


def compiled(*sources: Source) -> Program:
    return load(list(sources), Build(os.getpid()))


def test_a_tracepoint_that_the_kernel_lacks_costs_only_its_source() -> None:
    lacking = Source("lacking", "", (Event("lacking", "no_such_tracepoint", (TID,)),))
    program = compiled(all_sources()["sched"], lacking)
    try:
        program.attach()
        assert [source.name for source in program.sources] == ["sched"]
        assert program.unavailable == {"lacking": "this kernel has no tracepoint no_such_tracepoint"}
    finally:
        program.close()


def test_a_member_that_the_kernel_lacks_costs_only_its_source() -> None:
    fields = (Field("colour", "u4", "args[0]->task_struct.colour"),)
    program = compiled(all_sources()["block"], Source("lacking", "", (Event("lacking", "sched_waking", fields),)))
    program.close()
    assert program.unavailable == {"lacking": "this kernel has no colour in task_struct.colour"}


def test_an_argument_of_another_kind_than_declared_costs_only_its_source() -> None:
    fields = (Field("disk", "u8", "args[0]->request_queue.disk"),)  # before 5.11 it was the first one
    program = compiled(all_sources()["block"], Source("moved", "", (Event("moved", "block_rq_issue", fields),)))
    program.close()
    why = "this kernel's block_rq_issue has no request_queue as its argument 0, but request"
    assert program.unavailable == {"moved": why}


def test_a_member_that_the_kernel_lacks_is_read_where_older_ones_had_it() -> None:
    fields = (Field("pid", "u4", "args[0]->task_struct.colour", older="args[0]->task_struct.pid"),)
    program = compiled(Source("some", "", (Event("moved", "sched_waking", fields),)))
    program.close()
    assert program.unavailable == {}


def test_an_optional_event_that_the_kernel_lacks_costs_only_itself() -> None:
    events = (
        Event("present", "sched_waking", (TID,), when="{args[0]->task_struct.pid} == 1", optional=True),
        Event("no_tracepoint", "no_such_tracepoint", (TID,), optional=True),
        Event("timed_from_it", "sched_waking", (TID, Field("latency_ns", "u8", "since no_tracepoint")), optional=True),
        Event("no_member", "sched_waking", (TID,), when="{args[0]->task_struct.colour} == 1", optional=True),
    )
    program = compiled(Source("some", "", events))
    try:
        program.attach()
        assert [event.name for source in program.sources for event in source.events] == ["present"]
        assert program.unavailable == {
            "no_tracepoint": "this kernel has no tracepoint no_such_tracepoint",
            "timed_from_it": "this kernel lacks what it is timed from, no_tracepoint",
            "no_member": "this kernel has no colour in task_struct.colour",
        }
    finally:
        program.close()


def test_a_program_that_does_not_compile_costs_only_its_source_and_says_why() -> None:
    event = Event("broken", "sched_waking", (TID,), when="e.no_such_field == 1")
    program = compiled(all_sources()["tcp"], Source("broken", "", (event,)))
    program.close()
    assert [source.name for source in program.sources] == ["tcp"]
    assert "no_such_field" in program.unavailable["broken"]
    assert "\n" not in program.unavailable["broken"]
