"""What a flight recorder holds: the last segments, as many as the window needs, never more than the bound."""

import os
import tracemalloc
from pathlib import Path

from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from offwake.format.writer import Block, TraceWriter
from offwake.recorder.output.held import HeldSegments

SECOND_NS = 1_000_000_000
NEVER_TOO_MUCH = 1 << 40


def write_segment(held: HeldSegments, second: int, payload_bytes: int = 10_000) -> None:
    at = second * SECOND_NS
    held.write(Block(Kind.KEYFRAME, begin_ns=at, end_ns=at), b"\x80")
    held.write(Block(Kind.EVENTS, 0, at, at + SECOND_NS), os.urandom(payload_bytes))


def seconds_held(held: HeldSegments) -> list[int]:
    return [block.header.begin_ns // SECOND_NS for block in held.blocks() if block.header.kind == Kind.KEYFRAME]


def test_the_window_is_covered_and_hardly_more() -> None:
    held = HeldSegments(6 * SECOND_NS, NEVER_TOO_MUCH)
    for second in range(100):
        write_segment(held, second)
        assert seconds_held(held) == list(range(max(second - 6, 0), second + 1))


def test_memory_stays_flat() -> None:
    held = HeldSegments(6 * SECOND_NS, NEVER_TOO_MUCH)
    sizes = []
    for second in range(1000):
        write_segment(held, second)
        sizes.append((held.bytes_written, len(held.blocks())))
    assert len(set(sizes[10:])) == 1


def test_what_it_says_that_it_holds_is_what_it_takes() -> None:
    held = HeldSegments(100 * SECOND_NS, NEVER_TOO_MUCH)
    compressible = b"wait" * 100_000
    tracemalloc.start()
    try:
        for second in range(100):
            held.write(Block(Kind.KEYFRAME, begin_ns=second * SECOND_NS), b"\x80")
            held.write(Block(Kind.EVENTS), compressible)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 2 * held.bytes_written + len(compressible)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_a_busy_time_took_is_given_back_though_what_lives_on_lies_between() -> None:
    held, lives_on = HeldSegments(6 * SECOND_NS, NEVER_TOO_MUCH), []
    quiet = resident_bytes()
    for second in range(6):
        write_segment(held, second)
        for _ in range(200):
            held.write(Block(Kind.EVENTS), os.urandom(50_000))
            lives_on.append(bytes(1000))
    taken, busy = held.bytes_written, resident_bytes()
    assert busy - quiet > taken * 0.8
    for second in range(6, 20):
        write_segment(held, second)
    assert resident_bytes() - quiet < taken * 0.2


def test_the_bound_drops_the_oldest() -> None:
    held = HeldSegments(1000 * SECOND_NS, 100_000)
    for second in range(100):
        write_segment(held, second)
        assert held.bytes_written <= 100_000
    assert seconds_held(held) == list(range(100 - len(seconds_held(held)), 100))
    assert len(seconds_held(held)) > 5


def test_a_segment_larger_than_the_bound_is_kept_while_it_is_the_only_one() -> None:
    held = HeldSegments(6 * SECOND_NS, 100)
    write_segment(held, 0)
    assert seconds_held(held) == [0]
    write_segment(held, 1)
    assert seconds_held(held) == [1]


def test_what_is_held_is_a_recording(tmp_path: Path) -> None:
    held = HeldSegments(6 * SECOND_NS, NEVER_TOO_MUCH)
    for second in range(20):
        write_segment(held, second)
    path = tmp_path / "x.offwake"
    with open(path, "wb") as file:
        writer = TraceWriter(file.fileno())
        for header, frame in held.blocks():
            writer.copy(header, frame)
        writer.finish({})
    with TraceReader.open(path) as reader:
        reader.verify()
        assert reader.finished
        assert not reader.damage
        assert not reader.notices
        assert [block.segment for block in reader.blocks if block.kind == Kind.KEYFRAME] == [*range(14, 21)]
