"""What this kernel can record, as `offwake sources` tells it; and what it did not look at."""

import json

from offwake.recorder.programs.availability import availability
from offwake.recorder.sources import Event, Field, Source, all_sources
from tests.live.harness import offwake
from tests.live.test_refusals import WITHOUT_BCC, WITHOUT_ROOT

TID = Field("tid", "u4", "tid")


def test_every_source_is_told_with_its_events() -> None:
    result = offwake("sources", "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    told = {source["name"]: source for source in document["sources"]}
    declared = all_sources()
    assert {name: [event["name"] for event in source["events"]] for name, source in told.items()} == {
        name: [event.name for event in source.events] for name, source in declared.items()
    }
    assert {name for name, source in told.items() if source["default"]} == {"sched", "on-cpu", "block", "tcp"}
    assert told["sched"]["available"]
    assert told["sched"]["events"][0]["fields"] == ["prev", "prev_tgid", "next", "state"]
    assert told["on-cpu"]["samples_per_second"] == 49
    assert document["user_stacks"] in ("whole", "frame pointers")
    assert document["not_checked"] is None


def test_the_text_names_every_source_event_and_field() -> None:
    said = offwake("sources").stdout
    for source in all_sources().values():
        assert source.summary in said
        for event in source.events:
            assert f"  {event.name} " in said
            assert all(field.name in said for field in event.fields)


def test_what_needs_root_is_said_to_be_unchecked() -> None:
    result = offwake("sources", "--json", under=WITHOUT_ROOT)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert all(source["available"] for source in document["sources"])
    assert document["user_stacks"] is None
    assert "root" in document["not_checked"]


def test_what_needs_bcc_is_said_to_be_unchecked() -> None:
    assert "python3-bpfcc" in offwake("sources", under=WITHOUT_BCC).stdout.splitlines()[-1]


def test_what_the_kernel_lacks_is_told_by_source_and_by_event() -> None:
    sources = [
        all_sources()["sched"],
        Source("lacking", "", (Event("lacking", "no_such_tracepoint", (TID,)),)),
        Source("some", "", (Event("left_out", "no_such_tracepoint", (TID,), optional=True),)),
    ]
    assert availability(sources).lacking == {
        "lacking": "this kernel has no tracepoint no_such_tracepoint",
        "left_out": "this kernel has no tracepoint no_such_tracepoint",
    }
