"""The header and the trailer: what goes in comes out, and nothing else does."""

import re
import zlib
from dataclasses import fields, replace
from pathlib import Path

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from offwake.format import values
from offwake.format.layout import (
    HEADER_SIZE,
    MAJOR,
    MINOR,
    NO_STREAM,
    TRAILER_SIZE,
    BlockHeader,
    Kind,
    pack_trailer,
    unpack_trailer,
)

U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
HEADERS = st.builds(
    BlockHeader,
    st.binary(min_size=16, max_size=16),
    *[U16] * 4,
    *[U32] * 2,
    *[U64] * 8,
    *[U32] * 3,
)


@given(HEADERS, st.integers(0, 2**40))
def test_a_header_comes_back(header: BlockHeader, offset: int) -> None:
    packed = header.pack()
    assert len(packed) == HEADER_SIZE
    assert BlockHeader.unpack(packed, offset) == replace(header, offset=offset)


@given(HEADERS, st.integers(0, 8 * HEADER_SIZE - 1))
def test_a_flipped_bit_is_no_header(header: BlockHeader, bit: int) -> None:
    packed = bytearray(header.pack())
    packed[bit // 8] ^= 1 << bit % 8
    assert BlockHeader.unpack(bytes(packed), 0) is None


@given(U64, st.integers(0, 8 * TRAILER_SIZE - 1))
def test_a_trailer_comes_back_unless_a_bit_is_flipped(footer_offset: int, bit: int) -> None:
    packed = bytearray(pack_trailer(footer_offset))
    assert len(packed) == TRAILER_SIZE
    assert unpack_trailer(bytes(packed)) == footer_offset
    packed[bit // 8] ^= 1 << bit % 8
    assert unpack_trailer(bytes(packed)) is None


def test_every_field_lies_where_the_format_says() -> None:
    places = {
        "major": (32, 2), "minor": (34, 2), "kind": (36, 2), "flags": (38, 2),
        "stream": (40, 4), "segment": (44, 4), "sequence": (48, 8), "stream_sequence": (56, 8),
        "begin_ns": (64, 8), "end_ns": (72, 8), "ring_tail": (80, 8), "ring_head": (88, 8),
        "attempted": (96, 8), "lost": (104, 8),
        "raw_length": (112, 4), "compressed_length": (116, 4), "frame_crc": (120, 4),
    }  # fmt: skip
    zero = BlockHeader(bytes(16), *[0] * 17)
    assert set(places) == {field.name for field in fields(BlockHeader)} - {"file_id", "header_size", "offset"}
    for name, (place, size) in places.items():
        packed = bytearray(replace(zero, **{name: 2 ** (8 * size) - 1}).pack())
        assert packed[place : place + size] == b"\xff" * size
        packed[place : place + size] = bytes(size)
        assert packed[:124] == zero.pack()[:124]


def test_the_numbers_of_the_kinds_stay() -> None:
    assert [(kind.name, kind.value) for kind in Kind] == [
        ("KEYFRAME", 1), ("EVENTS", 2), ("SIDEBAND", 3), ("TICK", 4),
        ("SNAPSHOT", 5), ("SYMBOLS", 6), ("INDEX", 7), ("FOOTER", 8),
        ("UNWIND", 9),
    ]  # fmt: skip


def test_the_page_about_the_format_states_this_version() -> None:
    page = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
    assert f"| 32 | u16 | major | {MAJOR} |\n| 34 | u16 | minor | {MINOR} |\n" in page
    assert f"The format is version **{MAJOR}.{MINOR}**" in page and f"format {MAJOR}.{MINOR}, kind 4" in page


def test_the_pages_block_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
    block = bytes.fromhex("".join(re.findall(r"^    [0-9a-f]0: ((?:[0-9a-f]{2} )+)", page, re.MULTILINE)))
    header = BlockHeader.unpack(block, 0)
    assert header and header == replace(header, major=MAJOR, minor=MINOR, kind=Kind.TICK, stream=NO_STREAM)
    frame = block[header.frame_offset : header.end]
    assert header.end == len(block) and header.frame_crc == zlib.crc32(frame)
    assert values.unpack(zstandard.ZstdDecompressor().decompress(frame)) == {"time_ns": 5}
