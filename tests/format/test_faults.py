"""Whatever happens to a recording's bytes: nothing wrong is read, what is sound is read, the rest is counted."""

import random

import pytest

from offwake.errors import DamagedRecording, NotARecording
from offwake.format.layout import HEADER_SIZE, SYNC, Kind
from offwake.format.reader import TraceReader
from tests.format.builders import block_bytes, headers, payloads, reading, small_recording

WHOLE = small_recording()
HEADERS = headers(WHOLE)
PAYLOADS = payloads(WHOLE)
BLOCKS = block_bytes(WHOLE)


def sound(reader: TraceReader) -> set[int]:
    """Return which blocks can be read, after checking that none of them says anything but the truth."""
    read = set()
    for header in reader.blocks:
        original = HEADERS[header.sequence]
        assert header == original or header.offset != original.offset
        payload = reader.payload(header)
        if payload is not None:
            assert payload == PAYLOADS[header.sequence]
            read.add(header.sequence)
    return read


def everything_but(*lost: int) -> set[int]:
    return set(range(len(HEADERS))) - set(lost)


def test_the_whole_file_is_sound() -> None:
    assert 3000 < len(WHOLE) < 5000
    assert {Kind(header.kind) for header in HEADERS} == set(Kind)
    with reading(WHOLE) as reader:
        reader.verify()
        assert reader.finished
        assert reader.damage == []
        assert reader.notices == []
        assert sound(reader) == everything_but()


def test_cut_at_every_byte() -> None:
    for length in range(len(WHOLE)):
        whole = {header.sequence for header in HEADERS if header.end <= length}
        if not whole:
            with pytest.raises((DamagedRecording, NotARecording)), reading(WHOLE[:length]):
                pass
            continue
        with reading(WHOLE[:length]) as reader:
            assert sound(reader) == whole
            assert not reader.finished
            torn = length - max(header.end for header in HEADERS if header.end <= length)
            assert sum(damage.length for damage in reader.damage) == torn


def test_every_bit_flipped() -> None:
    for position in range(len(WHOLE)):
        hit = {header.sequence for header in HEADERS if header.offset <= position < header.end}
        for bit in range(8):
            broken = bytearray(WHOLE)
            broken[position] ^= 1 << bit
            with reading(bytes(broken)) as reader:
                assert sound(reader) | hit == everything_but(), f"bit {bit} of byte {position}"
                assert reader.damage, f"bit {bit} of byte {position}"
                assert all(damage.offset <= position < damage.offset + damage.length or not damage.length
                           for damage in reader.damage), f"bit {bit} of byte {position}"  # fmt: skip


def test_a_bit_of_every_byte_flipped_in_a_killed_recording() -> None:
    killed = b"".join(BLOCKS[:-3])
    for position in range(len(killed)):
        hit = {header.sequence for header in HEADERS if header.offset <= position < header.end}
        broken = bytearray(killed)
        broken[position] ^= 1 << position % 8
        with reading(bytes(broken)) as reader:
            assert sound(reader) == everything_but(*hit, len(HEADERS) - 2, len(HEADERS) - 1)
            assert reader.damage


def test_the_index_replaces_any_damaged_header() -> None:
    for header in HEADERS:
        if header.kind in (Kind.INDEX, Kind.FOOTER):
            continue
        zeroed = WHOLE[: header.offset] + bytes(HEADER_SIZE) + WHOLE[header.frame_offset :]
        with reading(zeroed) as reader:
            assert sound(reader) == everything_but()
            assert [damage.offset for damage in reader.damage] == [header.offset]


@pytest.mark.parametrize("first", range(len(HEADERS) - 1))
def test_two_blocks_swapped(first: int) -> None:
    swapped = [*BLOCKS[:first], BLOCKS[first + 1], BLOCKS[first], *BLOCKS[first + 2 :]]
    with reading(b"".join(swapped)) as reader:
        assert sound(reader) == everything_but()
        assert [header.sequence for header in reader.blocks] == list(range(len(HEADERS)))
        assert any("out of its place" in damage.what for damage in reader.damage)


@pytest.mark.parametrize("doubled", range(len(HEADERS)))
def test_a_block_doubled(doubled: int) -> None:
    with reading(b"".join([*BLOCKS[: doubled + 1], *BLOCKS[doubled:]])) as reader:
        assert [header.sequence for header in reader.blocks] == list(range(len(HEADERS)))
        assert sound(reader) == everything_but()
        repeated = [damage for damage in reader.damage if "repeats" in damage.what]
        assert [damage.length for damage in repeated] == [len(BLOCKS[doubled])]


@pytest.mark.parametrize("dropped", range(len(HEADERS)))
def test_a_block_dropped(dropped: int) -> None:
    with reading(b"".join([*BLOCKS[:dropped], *BLOCKS[dropped + 1 :]])) as reader:
        assert sound(reader) == everything_but(dropped)
        assert reader.damage


@pytest.mark.parametrize("finished", [True, False])
def test_a_dropped_span_is_missed_by_its_ring(finished: bool) -> None:
    second = next(header.sequence for header in HEADERS if header.stream == 1 and header.stream_sequence == 1)
    with reading(b"".join([*BLOCKS[:second], *BLOCKS[second + 1 : None if finished else -2]])) as reader:
        what = [damage.what for damage in reader.damage]
        assert "1 block missing before the EVENTS block of CPU 0" in what
        assert "1 block of its kind and 150 bytes of its ring missing before this EVENTS block of CPU 1" in what


@pytest.mark.parametrize("zeroed", range(len(HEADERS)))
def test_a_block_zeroed(zeroed: int) -> None:
    blocks = [*BLOCKS]
    blocks[zeroed] = bytes(len(blocks[zeroed]))
    with reading(b"".join(blocks)) as reader:
        assert sound(reader) == everything_but(zeroed)
        assert any(damage.offset == HEADERS[zeroed].offset for damage in reader.damage)


def test_bytes_cut_out_of_a_payload_lose_that_block_only() -> None:
    for header in HEADERS:
        middle = header.frame_offset + header.compressed_length // 2
        with reading(WHOLE[: middle - 5] + WHOLE[middle + 5 :]) as reader:
            assert sound(reader) == everything_but(header.sequence)
            assert reader.damage


def test_bytes_put_in_anywhere_lose_at_most_the_block_they_are_in() -> None:
    noise = random.Random(1)
    for position in range(0, len(WHOLE), 7):
        hit = {header.sequence for header in HEADERS if header.offset < position < header.end}
        with reading(WHOLE[:position] + SYNC + noise.randbytes(noise.randrange(200)) + WHOLE[position:]) as reader:
            assert sound(reader) | hit == everything_but()
            assert reader.damage


def test_two_recordings_in_one_file_are_not_mixed() -> None:
    other = small_recording(file_id=bytes(16))
    with reading(WHOLE + other) as reader:
        assert sound(reader) == everything_but()
        assert [(damage.offset, damage.length) for damage in reader.damage] == [(len(WHOLE), len(other))]
