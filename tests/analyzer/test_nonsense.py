"""Recordings whose checksums are right and whose contents are nonsense: one clear error, or counted nonsense, no crash."""

import copy
import struct
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from offwake.analyzer import query
from offwake.analyzer.recording import Recording
from offwake.analyzer.select import Selection
from offwake.errors import DamagedRecording
from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from offwake.format.writer import Block, TraceWriter
from tests.analyzer.recorded import ALL, recorded
from tests.analyzer.schedules import trace_of
from tests.events import Other

EXAMPLE = Path(__file__).parents[2] / "examples" / "demo.offwake"
STRANGE: tuple[Any, ...] = (None, -1, 1 << 63, "text", b"bytes", [], {}, 1.5, True)


def blocks_of(path: Path) -> list[tuple[Block, Any]]:
    """Return a recording's blocks, with their values or payloads."""
    with TraceReader.open(path) as reader:
        found = []
        for header in reader.blocks:
            is_span = header.kind in (Kind.EVENTS, Kind.SIDEBAND)
            times, ring = (header.begin_ns, header.end_ns), (header.ring_tail, header.ring_head)
            block = Block(Kind(header.kind), header.stream, *times, *ring)
            found.append((block, reader.payload(header) if is_span else reader.values(header)))
        return found


def write(path: Path, blocks: list[tuple[Block, Any]]) -> Path:
    """Write blocks as a recorder would, whatever is in them."""
    with path.open("wb") as file:
        writer = TraceWriter(file.fileno())
        footer: dict[str, Any] = {}
        for block, content in blocks:
            if block.kind == Kind.KEYFRAME:
                writer.begin_segment(content)
            elif block.kind == Kind.FOOTER:
                footer = content
            elif isinstance(content, bytes):
                writer.write(block, content)
            elif block.kind != Kind.INDEX:
                writer.write_values(block, content)
        writer.finish(footer)
    return path


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value inside a value; of a long list's items the first two will do."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in items:
        found += places_in(item, (*path, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


def look_at_everything(path: Path) -> None:
    with Recording.open(path) as recording:
        recording.info()
        for view in query.VIEWS:
            query.profile(recording, view, Selection(show_all=True))
        for table in query.TABLES:
            assert all(
                value is None or not isinstance(value, int) or value >= 0
                for row in query.table(recording, table, Selection(show_all=True)).rows
                for value in row.values()
            )
        query.heatmap(recording, "block-io", Selection())


@pytest.mark.parametrize("kind", [Kind.KEYFRAME, Kind.TICK, Kind.SYMBOLS, Kind.FOOTER])
def test_strange_values_are_refused_in_one_line_or_do_no_harm(kind: Kind, tmp_path: Path) -> None:
    blocks = blocks_of(EXAMPLE)
    number = next(number for number, (block, _) in enumerate(blocks) if block.kind == kind)
    places = places_in(blocks[number][1])
    random, refused = Random(kind), 0
    for place in random.sample(places, min(40, len(places))):
        strange = list(blocks)
        block, content = strange[number]
        try:
            strange[number] = (block, replaced(content, place, random.choice(STRANGE)))
            look_at_everything(write(tmp_path / "strange.offwake", strange))
        except DamagedRecording as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused


def test_random_bytes_in_the_rings_are_counted_as_unreadable(tmp_path: Path) -> None:
    random = Random(1)
    blocks = blocks_of(EXAMPLE)
    for number, (block, content) in enumerate(blocks):
        if block.kind in (Kind.EVENTS, Kind.SIDEBAND):
            damaged = bytearray(content)
            for _ in range(20):
                place = random.randrange(len(damaged))
                damaged[place] = random.randrange(256)
            blocks[number] = (block, bytes(damaged))
    look_at_everything(write(tmp_path / "noise.offwake", blocks))


@pytest.mark.parametrize("cpu", [8191, 1 << 31, (1 << 32) - 1])
def test_a_ring_of_a_cpu_that_there_is_not_is_left_out(cpu: int, tmp_path: Path) -> None:
    blocks = blocks_of(EXAMPLE)
    number = next(number for number, (block, _) in enumerate(blocks) if block.kind == Kind.EVENTS)
    blocks[number] = (replace(blocks[number][0], stream=cpu), blocks[number][1])
    look_at_everything(write(tmp_path / "strange.offwake", blocks))


def test_a_gap_that_ends_when_no_clock_can_have_been_is_refused(tmp_path: Path) -> None:
    blocks = blocks_of(EXAMPLE)
    number = next(number for number, (block, _) in enumerate(blocks) if block.kind == Kind.TICK)
    block, tick = blocks[number]
    blocks[number] = (block, tick | {"time_ns": 1 << 63, "counters": {0: {1: [9, 0, 9]}}})
    with pytest.raises(DamagedRecording, match=r"tick\.time_ns"):
        look_at_everything(write(tmp_path / "strange.offwake", blocks))


def test_a_recording_of_a_hundred_years_is_refused(tmp_path: Path) -> None:
    blocks = blocks_of(EXAMPLE)
    block, footer = blocks[-1]
    assert block.kind == Kind.FOOTER
    blocks[-1] = (block, footer | {"ended_ns": (1 << 62) - 1})
    with pytest.raises(DamagedRecording, match="nobody records for 533.. days"):
        look_at_everything(write(tmp_path / "strange.offwake", blocks))


def spoilt(path: Path, kind: Kind, **values: Any) -> Path:
    """Write the example with other values in its first block of a kind."""
    blocks = blocks_of(EXAMPLE)
    number = next(number for number, (block, _) in enumerate(blocks) if block.kind == kind)
    blocks[number] = (blocks[number][0], blocks[number][1] | values)
    return write(path, blocks)


def counted(name: str, *fields: str, names: tuple[list[str], ...] = ()) -> list[dict[str, Any]]:
    """Return the layout of a map: its key is of 32 bits, its sums of 64."""
    sizes = [4 if field in ("function", "tgid", "power", "call") else 8 for field in fields]
    layout = [[field, f"<u{sizes[place]}", sum(sizes[:place])] for place, field in enumerate(fields)]
    return [{"name": name, "source": "count", "size": sum(sizes), "fields": layout, "names": [*names]}]


MAIN = (["main", "/bin/x"],)


@pytest.mark.parametrize(
    ("kind", "values", "place"),
    [
        (Kind.TICK, {"counters": {0: {1: [9, 9, 0, "none"]}}}, r"tick\.counters\.0\.1\[3\]: str instead of int"),
        (Kind.KEYFRAME, {"min_block_ns": "long"}, "keyframe.min_block_ns: str instead of int"),
        (Kind.KEYFRAME, {"counted": counted("calls", "tgid", "count", names=MAIN)}, "counted.calls.function: None instead"),
        (
            Kind.KEYFRAME,
            {"counted": counted("functions_1", "function", "tgid", "count", "total_ns", names=MAIN)},
            "counted.functions_1.squares_low: None instead",
        ),
    ],
)
def test_what_is_read_of_a_block_is_checked(kind: Kind, values: dict[str, Any], place: str, tmp_path: Path) -> None:
    with pytest.raises(DamagedRecording, match=place):
        look_at_everything(spoilt(tmp_path / "strange.offwake", kind, **values))


def test_calls_that_were_counted_as_none_are_in_no_histogram(tmp_path: Path) -> None:
    fields = ("function", "tgid", "power", "count", "total_ns", "squares_low", "squares_high")
    blocks = blocks_of(EXAMPLE)
    for block, content in blocks:
        if block.kind == Kind.KEYFRAME:
            content["counted"] = counted("functions_1", *fields, names=MAIN)
        elif block.kind == Kind.TICK:
            content["counted"] = {"functions_1": struct.pack("<III4Q", 0, 1, 9, 0, 0, 0, 0)}
    path = write(tmp_path / "strange.offwake", blocks)
    look_at_everything(path)
    with Recording.open(path) as recording:
        assert query.histogram(recording, "functions", Selection()).found == []


def test_a_look_up_cannot_have_taken_centuries(tmp_path: Path) -> None:
    took = ((1500, (1 << 64) - 1), (1600, 100))
    lookups = (Other(at, 0, "dns_lookup", {"tid": 7, "latency_ns": ns, "host": b"host"}) for at, ns in took)
    trace = trace_of(*lookups)
    with recorded(trace) as recording:
        assert [row["latency_ns"] for row in query.table(recording, "dns", ALL).rows] == [100]
        assert query.histogram(recording, "dns", ALL).total == query.heatmap(recording, "dns", ALL).total == 1
