"""Small recordings, whole and broken, as bytes."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offwake.format.layout import BlockHeader, Kind
from offwake.format.reader import TraceReader
from offwake.format.writer import Block, TraceWriter

FILE_ID = bytes(range(16))


def small_recording(events: int = 8, payload_length: int = 150, file_id: bytes = FILE_ID) -> bytes:
    """Return a finished recording of one segment: `events` EVENTS blocks of two CPUs, and one of each other kind."""
    fd = os.memfd_create("recording")
    writer = TraceWriter(fd, file_id)
    noise = random.Random(events)
    writer.begin_segment({"host": "web01", "cpus": [0, 1]})
    for number in range(events):
        cpu, turn = number % 2, number // 2
        tail = turn * payload_length
        block = Block(
            Kind.EVENTS, cpu, begin_ns=number, end_ns=number + 2, ring_tail=tail, ring_head=tail + payload_length
        )
        writer.write(block, noise.randbytes(payload_length))
    writer.write(Block(Kind.SIDEBAND, 1, ring_head=16), bytes(16))
    writer.write_values(Block(Kind.TICK), {"time_ns": 5})
    writer.write_values(Block(Kind.SNAPSHOT), {"threads": []})
    writer.write_values(Block(Kind.SYMBOLS), {})
    writer.write_values(Block(Kind.UNWIND), {"files": []})
    writer.finish({"reason": "test"})
    return memory_bytes(fd)


def memory_bytes(fd: int) -> bytes:
    """Return what a memory file holds, and close it."""
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    os.close(fd)
    return data


@contextmanager
def reading(data: bytes) -> Iterator[TraceReader]:
    """Open `data` as a recording."""
    with as_file(data) as path, TraceReader.open(path) as reader:
        yield reader


@contextmanager
def as_file(data: bytes) -> Iterator[Path]:
    """Put `data` into a file that lives in memory only."""
    fd = os.memfd_create("recording")
    try:
        os.pwrite(fd, data, 0)
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def headers(data: bytes) -> list[BlockHeader]:
    """Return the headers of a sound recording."""
    with reading(data) as reader:
        assert not reader.damage
        return reader.blocks


def payloads(data: bytes) -> dict[int, bytes]:
    """Return the payloads of a sound recording, by the blocks' sequence numbers."""
    with reading(data) as reader:
        return {header.sequence: reader.payload(header) or b"" for header in reader.blocks}


def block_bytes(data: bytes) -> list[bytes]:
    """Return a sound recording cut into its blocks, and its trailer."""
    blocks = headers(data)
    return [data[header.offset : header.end] for header in blocks] + [data[blocks[-1].end :]]
