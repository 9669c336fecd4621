"""What a CPU's lost blocks would have told is unknown: no running, and no long wait."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from offwake.analyzer import query
from offwake.analyzer.completeness import completeness
from offwake.analyzer.recording import Recording
from offwake.format.layout import BlockHeader, Kind
from offwake.format.reader import TraceReader
from offwake.format.recover import recover
from offwake.format.writer import Block, TraceWriter
from tests.analyzer.recorded import ALL
from tests.analyzer.schedules import EIGHT, SEVEN, SLEEPS, WAKES, S, trace_of, wait
from tests.events import IDLE, Known, Switch, Trace, Waking
from tests.traces import write_trace
from tests.truth import PARTS

Spoil = Callable[[bytes, BlockHeader], bytes]

NINE = Known(9, 9, "nine")
ZERO = (Kind.EVENTS, 0)
CUTS = [(1200, 1200), (1600, 1600)]


def damaged(content: bytes, block: BlockHeader) -> bytes:
    middle = (block.frame_offset + block.end) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def missing(content: bytes, block: BlockHeader) -> bytes:
    return content[: block.offset] + content[block.end :]


def parts(path: Path, trace: Trace, segment: int, spoil: Spoil, tid: int) -> dict[str, int]:
    """Return the parts of a thread that are not zero, of a recording without what CPU 0 wrote in a segment."""
    return parts_of(spoilt(write_trace(path, trace, CUTS), segment, spoil), tid)


def spoilt(path: Path, segment: int, spoil: Spoil) -> Path:
    with TraceReader.open(path) as reader:
        (block,) = (block for block in reader.blocks if (block.kind, block.stream, block.segment) == (*ZERO, segment))
    path.write_bytes(spoil(path.read_bytes(), block))
    return path


def parts_of(path: Path, tid: int) -> dict[str, int]:
    with Recording.open(path) as recording:
        (row,) = (row for row in query.table(recording, "threads", ALL).rows if row["tid"] == tid)
    return {part: row[f"{part}_ns"] for part in PARTS if row[f"{part}_ns"]}


@pytest.mark.parametrize("spoil", [damaged, missing])
def test_who_ran_before_the_first_block_that_is_left_is_unknown(spoil: Spoil, tmp_path: Path) -> None:
    first, second = Switch(1100, 0, 7, 9, S, stack=SLEEPS), Switch(1500, 0, 9, IDLE, S, stack=SLEEPS)
    trace = trace_of(first, second, threads=(SEVEN, NINE))
    assert parts(tmp_path / "lost", trace, 1, spoil, tid=9) == {"unknown": 500, "blocked": 500}


def test_a_sleep_that_a_damaged_last_block_may_have_ended_is_unknown(tmp_path: Path) -> None:
    trace = trace_of(
        Switch(1100, 0, 7, IDLE, S, stack=SLEEPS),
        Switch(1150, 1, 8, IDLE, S, stack=SLEEPS),
        Waking(1700, 0, IDLE, 8, WAKES),
        Switch(1750, 1, IDLE, 8),
        Waking(1800, 0, IDLE, 7, WAKES),
        threads=(SEVEN, EIGHT),
    )
    assert parts(tmp_path / "lost", trace, 3, damaged, tid=7) == {"on_cpu": 100, "unknown": 900}
    assert parts(tmp_path / "lost", trace, 3, damaged, tid=8) == {"on_cpu": 400, "unknown": 600}


def test_what_a_damaged_block_in_their_midst_hides_is_unknown_and_nothing_else(tmp_path: Path) -> None:
    waits = (wait(begin, Waking(begin + 20, 1, 8, 7, WAKES), begin + 50) for begin in (1100, 1300, 1700))
    trace = trace_of(*(event for events in waits for event in events))
    assert parts(tmp_path / "lost", trace, 2, damaged, tid=7) == {
        "on_cpu": 100 + 250,
        "blocked": 40,
        "run_queue": 60,
        "unknown": 550,
    }


def test_a_gap_goes_on_over_a_block_without_events(tmp_path: Path) -> None:
    """Of CPU 0 the second block does not go on where the first ended, and holds nothing that can be read."""
    waits = (wait(begin, Waking(begin + 20, 1, 8, 7, WAKES), begin + 50) for begin in (1100, 1300, 1700))
    path = write_trace(tmp_path / "whole", trace_of(*(event for events in waits for event in events)), CUTS)
    with TraceReader.open(path) as reader, (tmp_path / "lost").open("wb") as file:
        writer = TraceWriter(file.fileno())
        for header in reader.blocks[:-2]:  # all but INDEX and FOOTER
            block = Block(Kind(header.kind), header.stream, ring_tail=header.ring_tail, ring_head=header.ring_head)
            payload = reader.payload(header) or b""
            if (header.kind, header.stream, header.segment) == (*ZERO, 2):
                block, payload = replace(block, ring_tail=header.ring_head - 8), bytes(8)
            writer.write(block, payload)
        writer.finish(reader.footer or {})
    assert parts_of(tmp_path / "lost", tid=7) == {"on_cpu": 350, "blocked": 40, "run_queue": 60, "unknown": 550}


def test_what_is_lost_is_told_and_still_is_when_the_file_was_recovered(tmp_path: Path) -> None:
    waits = (wait(begin, Waking(begin + 20, 1, 8, 7, WAKES), begin + 50) for begin in (1100, 1300, 1700))
    path = write_trace(tmp_path / "lost", trace_of(*(event for events in waits for event in events)), CUTS)
    recover(spoilt(path, 2, damaged), tmp_path / "recovered")
    verdict, (sentence,) = told(path)
    assert re.fullmatch(r"not complete: \d+ bytes damaged", verdict)
    assert re.match(r"The file is damaged in 1 place \(\d+ bytes\)", sentence)
    verdict, (sentence,) = told(tmp_path / "recovered")
    assert verdict == "not complete: parts missing"
    assert sentence.startswith("Parts of the file are missing")


def told(path: Path) -> tuple[str, list[str]]:
    """Return what pictures say of a recording's completeness, and the sentences on it."""
    with Recording.open(path) as recording:
        info = recording.info()
    return completeness(info), info["verdict"]
