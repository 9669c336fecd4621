"""A CPU that came back has other perf events: the keyframe of that segment has their ids, for all who read events."""

import json
import struct
from pathlib import Path

import pytest

from offwake.analyzer.recording import Recording
from offwake.cli import main
from offwake.format.layout import Kind
from offwake.format.records import RECORD_SAMPLE
from tests.analyzer.schedules import trace_of
from tests.analyzer.test_nonsense import blocks_of, write
from tests.events import Switch
from tests.traces import write_trace

OTHER_IDS = 1000
IS_MEMBER, FLAGS_AT = 2, 30  # of a switch without a stack


def came_back(path: Path) -> Path:
    """Write a recording narrowed to process 7, of whose two switches by members the second has other perf events' ids."""
    segment, blocks = 0, blocks_of(write_trace(path, trace_of(Switch(1100, 0, 7, 8), Switch(1500, 0, 8, 7)), [(1200, 1200)]))
    for number, (block, content) in enumerate(blocks):
        if block.kind == Kind.KEYFRAME:
            content["narrowing"] = {"pids": [7], "tids": [], "cgroups": [], "members": [], "command": False, "wakers": True}
            for event in content["events"]:
                event["id"] += OTHER_IDS * segment
            segment += 1
        elif block.kind == Kind.EVENTS:
            (kind,), (identifier,) = struct.unpack_from("<I", content), struct.unpack_from("<Q", content, 8)
            assert kind == RECORD_SAMPLE
            span = bytearray(content)
            struct.pack_into("<Q", span, 8, identifier + OTHER_IDS * (segment - 1))
            struct.pack_into("<H", span, FLAGS_AT, IS_MEMBER)
            blocks[number] = (block, bytes(span))
    return write(path, blocks)


def test_all_of_its_events_are_dumped(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["dump", str(came_back(tmp_path / "back")), "--json"])
    assert [json.loads(line)["time_ns"] for line in capsys.readouterr().out.splitlines()] == [1100, 1500]


def test_the_members_that_it_marks_are_known(tmp_path: Path) -> None:
    with Recording.open(came_back(tmp_path / "back")) as recording:
        assert recording.members.tolist() == [7, 8]
