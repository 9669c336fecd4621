"""A second reader, written from docs/format.md alone, agrees with TraceReader."""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import pytest
import zstandard

from offwake.format.reader import TraceReader
from tests.events import Known, Sample, Switch, Trace, WakeupNew, Waking
from tests.format.builders import as_file, small_recording
from tests.traces import write_trace

KEYFRAME, EVENTS, SIDEBAND, FOOTER = 1, 2, 3, 8
TID, TIME, CALLCHAIN, RAW = 1 << 1, 1 << 2, 1 << 5, 1 << 10


class Block(NamedTuple):
    offset: int
    kind: int
    stream: int
    sequence: int
    payload: bytes


def blocks(data: bytes) -> list[Block]:
    """Hop from header to header up to the trailer, checking everything that can be checked."""
    found: list[Block] = []
    offset = 0
    while data[offset + 8 : offset + 16] == b"\x89offwake":
        header = struct.unpack_from("<II8s16sHHHHIIQQQQQQQQIIII", data, offset)
        magic, follows, _, _, major, _, kind, _, stream, _, sequence = header[:11]
        raw_length, length, frame_crc, header_crc = header[-4:]
        assert magic == 0x184D2A50 and major == 0
        assert zlib.crc32(data[offset : offset + 124]) == header_crc
        begin = offset + 8 + follows
        frame = data[begin : begin + length]
        assert zlib.crc32(frame) == frame_crc
        payload = zstandard.ZstdDecompressor().decompress(frame)
        assert len(payload) == raw_length
        found.append(Block(offset, kind, stream, sequence, payload))
        offset = begin + length
    magic, length, sync, footer_offset, _, crc = struct.unpack("<II8sQII", data[offset:])
    assert (magic, length, sync) == (0x184D2A50, 24, b"\x89owindex")
    assert zlib.crc32(data[offset : offset + 28]) == crc
    assert (found[-1].kind, found[-1].offset) == (FOOTER, footer_offset)
    return found


def value(block: Block) -> Any:
    return msgpack.unpackb(block.payload, unicode_errors="surrogateescape", strict_map_key=False)


def indexed(data: bytes) -> list[int]:
    """Return the offsets that the index names, in order."""
    everything = {block.offset: block for block in blocks(data)}
    link, offsets = value(list(everything.values())[-1])["index_offset"], list[int]()
    while link is not None:
        index = value(everything[link])
        offsets = [offset for offset, _ in index["entries"]] + offsets
        link = index["previous"]
    return offsets


def events(data: bytes) -> Counter[str]:
    """Count the samples by the name of their BPF event, or of the perf event where they carry no raw data."""
    counted: Counter[str] = Counter()
    for block in blocks(data):
        if block.kind == KEYFRAME:
            keyframe = value(block)
            samplers = {event["id"]: event for event in keyframe.get("events", ())}
            kinds = {kind["id"]: kind["name"] for kind in keyframe.get("kinds", ())}
        at = 0
        while block.kind == EVENTS and at < len(block.payload):
            record, _, size = struct.unpack_from("<IHH", block.payload, at)
            if record == 9:
                event = samplers[struct.unpack_from("<Q", block.payload, at + 8)[0]]
                bits, place = event["sample_type"], at + 16
                place += 8 * bool(bits & TID) + 8 * bool(bits & TIME)
                if bits & CALLCHAIN:
                    place += 8 + 8 * struct.unpack_from("<Q", block.payload, place)[0]
                raw = bits & RAW and struct.unpack_from("<H", block.payload, place + 4)
                if raw == (0,):
                    counted.update(kinds[kind] for kind in batched(block.payload[place + 8 : at + size]))
                else:
                    counted[kinds[raw[0]] if raw else event["name"]] += 1
            at += size
    return counted


def batched(data: bytes) -> Iterator[int]:
    """Yield the kinds of a batch's events."""
    at = 8
    while at < len(data):
        _, size, kind = struct.unpack_from("<IIH", data, at)
        yield kind
        at += 8 + size


# The comparison with the reader and the recordings that the doc's own reader has to cope with.


def agree(path: Path) -> None:
    data = path.read_bytes()
    with TraceReader.open(path) as reader:
        assert blocks(data) == [
            Block(header.offset, header.kind, header.stream, header.sequence, reader.payload(header) or b"")
            for header in reader.blocks
        ]
        assert indexed(data) == [header.offset for header in reader.blocks[:-2]]
        assert not reader.damage
        assert reader.finished


@pytest.mark.parametrize("count", [1, 8, 1000])
def test_both_readers_agree(count: int) -> None:
    with as_file(small_recording(count)) as path:
        agree(path)


@pytest.mark.parametrize("user_stacks", [False, True], ids=["walked", "whole"])
def test_events_are_counted_as_they_were_written(user_stacks: bool, tmp_path: Path) -> None:
    began = 1_000_000_000
    written = [
        *[Switch(began + 10 * n, n % 2, prev=5, next=0, state=n % 3, stack=("main", "wait_[k]")) for n in range(13)],
        *[Waking(began + 10 * n + 1, n % 2, waker=5, target=6, stack=("main", "wake_[k]")) for n in range(11)],
        *[Sample(began + 10 * n + 2, n % 2, tid=5, stack=("main",)) for n in range(7)],
        *[WakeupNew(began + 10 * n + 3, n % 2, waker=5, target=50 + n, tgid=50 + n, comm="new") for n in range(5)],
    ]
    threads = [Known(5, 5, "five"), Known(6, 6, "six")]
    trace = Trace(cpus=2, threads=threads, events=written, user_stacks=user_stacks)
    path = write_trace(tmp_path / "x.offwake", trace)
    agree(path)
    counted = events(path.read_bytes())
    sampled = "cpu_sample_whole" if user_stacks else "on-cpu"
    assert counted == {"sched_switch": 13, "sched_waking": 11, sampled: 7, "sched_wakeup_new": 5}


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "examples").glob("*.offwake")), ids=str)
def test_the_examples_are_read(path: Path) -> None:
    agree(path)
    assert events(path.read_bytes()).total() > 0
