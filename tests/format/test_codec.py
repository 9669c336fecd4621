"""Frames: whatever is not exactly one whole frame of the stated length is refused, before memory is taken."""

import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from offwake.format.codec import Compressor, decompress

PAYLOAD = bytes(range(256)) + b"abc" * 100
FRAME = Compressor().compress(PAYLOAD)
LIMIT = 1 << 20


@given(st.binary(max_size=5000))
def test_a_payload_comes_back(payload: bytes) -> None:
    assert decompress(Compressor().compress(payload), len(payload), LIMIT) == payload


def test_a_truncated_frame_is_refused() -> None:
    for length in range(len(FRAME)):
        with pytest.raises(ValueError):
            decompress(FRAME[:length], len(PAYLOAD), LIMIT)


def test_a_flipped_bit_never_gives_other_bytes() -> None:
    for bit in range(8 * len(FRAME)):
        broken = bytearray(FRAME)
        broken[bit // 8] ^= 1 << bit % 8
        try:
            assert decompress(bytes(broken), len(PAYLOAD), LIMIT) == PAYLOAD  # a bit that zstd does not use
        except ValueError:
            pass


def test_more_than_one_frame_is_refused() -> None:
    for extra in (b"\0", FRAME, b"\x50\x2a\x4d\x18\0\0\0\0"):
        with pytest.raises(ValueError):
            decompress(FRAME + extra, len(PAYLOAD), LIMIT)


def test_a_frame_without_length_or_checksum_is_refused() -> None:
    for compressor in (
        zstandard.ZstdCompressor(write_content_size=False, write_checksum=True),
        zstandard.ZstdCompressor(write_content_size=True, write_checksum=False),
    ):
        with pytest.raises(ValueError):
            decompress(compressor.compress(PAYLOAD), len(PAYLOAD), LIMIT)


@pytest.mark.parametrize("stated", [10, 2**32, 2**40, 2**63])
def test_a_frame_that_lies_about_its_length_takes_no_memory(stated: int) -> None:
    descriptor = 0b1110_0100  # 8 bytes of length, a single segment, a checksum
    body = FRAME[FRAME.index(PAYLOAD[:8]) - 3 :]
    bomb = b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + stated.to_bytes(8, "little") + body
    for claimed in {stated, len(PAYLOAD)}:
        tracemalloc.start()
        with pytest.raises(ValueError):
            decompress(bomb, claimed, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 2 * LIMIT
        tracemalloc.stop()


def test_a_payload_over_the_limit_is_refused() -> None:
    bomb = Compressor().compress(bytes(LIMIT + 1))
    assert len(bomb) < 1000
    with pytest.raises(ValueError, match=f"more than the {LIMIT} allowed"):
        decompress(bomb, LIMIT + 1, LIMIT)
