"""TraceWriter: a legal zstd file, whatever the kernel does with the writes."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from offwake.format.codec import Buffer
from offwake.format.layout import MAX_VALUE_PAYLOAD, Kind
from offwake.format.reader import TraceReader
from offwake.format.writer import Block, TraceWriter
from tests.format.builders import FILE_ID, headers, memory_bytes, payloads, reading, small_recording

WHOLE = small_recording()


def test_zstd_checks_and_decompresses_it(tmp_path: Path) -> None:
    path = tmp_path / "small.offwake"
    path.write_bytes(WHOLE)
    subprocess.run(["zstd", "--quiet", "--test", str(path)], check=True, stdin=subprocess.DEVNULL)
    plain = subprocess.run(
        ["zstd", "-d", "--stdout", "--force", str(path)], check=True, capture_output=True, stdin=subprocess.DEVNULL
    )
    assert plain.stdout == b"".join(payloads(WHOLE).values())


def test_headers_carry_what_the_caller_knows() -> None:
    events = [header for header in headers(WHOLE) if header.kind == Kind.EVENTS and header.stream == 1]
    assert [(header.begin_ns, header.end_ns) for header in events] == [(1, 3), (3, 5), (5, 7), (7, 9)]
    assert [(header.ring_tail, header.ring_head) for header in events] == [(0, 150), (150, 300), (300, 450), (450, 600)]
    assert [header.stream_sequence for header in events] == [0, 1, 2, 3]
    assert {header.segment for header in events} == {1}
    assert all(header.critical for header in events)
    assert {header.file_id for header in events} == {FILE_ID}


def test_a_payload_may_come_in_parts() -> None:
    fd = os.memfd_create("parts")
    writer = TraceWriter(fd)
    whole: list[Buffer] = [b"abc", bytearray(b"abc"), memoryview(b"abc")]
    parts: list[list[Buffer]] = [[b"a", memoryview(b"b"), bytearray(b"c")], []]
    for payload in [*whole, *parts]:
        writer.write(Block(Kind.EVENTS), payload)
    with reading(memory_bytes(fd)) as reader:
        assert [reader.payload(header) for header in reader.blocks] == [b"abc"] * 4 + [b""]


def test_a_payload_that_no_reader_would_take_is_not_written() -> None:
    fd = os.memfd_create("large")
    writer = TraceWriter(fd)
    with pytest.raises(ValueError, match="must be split"):
        writer.write(Block(Kind.SYMBOLS), bytes(MAX_VALUE_PAYLOAD + 1))
    assert memory_bytes(fd) == b""


def test_the_index_holds_every_header_and_is_chained_backwards() -> None:
    data = small_recording(events=1000, payload_length=1)
    with reading(data) as reader:
        indexes = [header for header in reader.blocks if header.kind == Kind.INDEX]
        chain: list[Any] = [reader.values(header) for header in indexes]
        entries = [entry for index in chain for entry in index["entries"]]
        assert [index["previous"] for index in chain] == [None, *[header.offset for header in indexes[:-1]]]
        assert entries == [[header.offset, header.pack()] for header in reader.blocks[:-2]]
        assert max(len(index["entries"]) for index in chain) == 256
        assert reader.footer == {"reason": "test", "index_offset": indexes[-1].offset, "blocks": len(reader.blocks) - 1}


def test_one_system_call_a_block(tmp_path: Path) -> None:
    script = """
import os, sys
from offwake.format.layout import Kind
from offwake.format.writer import Block, TraceWriter
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
writer = TraceWriter(fd)
for number in range(7):
    writer.write(Block(Kind.EVENTS), os.urandom(100_000))
"""
    trace = tmp_path / "trace"
    command = ["strace", "-o", str(trace), "-e", "trace=write,writev,pwrite64,pwritev,lseek,ftruncate,fsync", "-P"]
    path = str(tmp_path / "out")
    subprocess.run([*command, path, sys.executable, "-c", script, path], check=True, cwd=Path(__file__).parents[2])
    calls = [line for line in trace.read_text().splitlines() if not line.startswith("+++")]
    assert len(calls) == 7
    assert all(line.startswith("writev(") for line in calls)


NOISE = os.urandom(300_000)


def write_noise(fd: int) -> None:
    writer = TraceWriter(fd, FILE_ID)
    for number in range(20):
        writer.write(Block(Kind.EVENTS, ring_tail=number, ring_head=number + 1), NOISE)
    writer.finish({})


def noise_recording() -> bytes:
    fd = os.memfd_create("noise")
    write_noise(fd)
    return memory_bytes(fd)


def test_a_write_that_signals_cut_short_is_completed() -> None:
    """A blocking write into a pipe returns early when a signal comes after some of it was taken."""
    source, sink = os.pipe()
    received: list[bytes] = []

    def drain() -> None:
        while chunk := os.read(source, 20_000):
            received.append(chunk)
            time.sleep(0.001)

    reader = threading.Thread(target=drain)
    reader.start()
    before = signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        write_noise(sink)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(sink)
        reader.join()
        os.close(source)
    assert b"".join(received) == noise_recording()


def test_a_full_disk_is_an_error() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    writer = TraceWriter(fd)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        writer.begin_segment({})
    assert (writer.bytes_written, writer.blocks_written) == (0, 0)
    os.close(fd)


def test_a_recording_that_outgrew_its_disk_reads_up_to_there_and_goes_on_after_it(tmp_path: Path) -> None:
    """The limit on a file's size cuts a write short as a full disk does, and then fails it."""
    path = tmp_path / "limited.offwake"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    writer = TraceWriter(fd)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer.begin_segment({})
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        writer.write(Block(Kind.EVENTS, ring_tail=0, ring_head=1), NOISE)
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            writer.write(Block(Kind.EVENTS, ring_tail=1, ring_head=2), NOISE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert writer.bytes_written == 500_000
    with TraceReader.open(path) as reader:
        assert [header.kind for header in reader.blocks] == [Kind.KEYFRAME, Kind.EVENTS]
        assert [damage.what for damage in reader.damage] == ["the EVENTS block is cut short"]
    writer.write(Block(Kind.EVENTS, ring_tail=2, ring_head=3), NOISE)
    writer.finish({})
    os.close(fd)
    with TraceReader.open(path) as reader:
        reader.verify()
        assert reader.finished
        assert [header.sequence for header in reader.blocks] == [0, 1, 3, 4, 5]
        assert [damage.length > 0 for damage in reader.damage].count(True) == 1
