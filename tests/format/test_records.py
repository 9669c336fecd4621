"""perf's records, built byte by byte as include/uapi/linux/perf_event.h says."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offwake.format import records
from offwake.format.records import Comm, Exit, Fork, Lost, Mmap2, Unreadable, sideband_records

SAMPLE_TYPE = records.SAMPLE_TID | records.SAMPLE_TIME | records.SAMPLE_IDENTIFIER


def record(kind: int, body: bytes, misc: int = 0, time_ns: int = 77) -> bytes:
    trailer = struct.pack("<IIQQ", 5, 6, time_ns, 99)
    return struct.pack("<IHH", kind, misc, 8 + len(body) + len(trailer)) + body + trailer


def text(value: bytes) -> bytes:
    return value + bytes(8 - len(value) % 8)


def mapping(identity: bytes, path: bytes) -> bytes:
    return struct.pack("<IIQQQ24sII", 1, 2, 0x1000, 0x2000, 0x3000, identity, 5, 2) + text(path)


COMM = record(3, struct.pack("<II", 1, 2) + text(b"a\xffb"), misc=1 << 13)
SPAN = b"".join(
    [
        COMM,
        record(7, struct.pack("<IIIIQ", 1, 2, 3, 4, 50)),
        record(4, struct.pack("<IIIIQ", 1, 2, 3, 4, 60)),
        record(77, b"of no interest...."),
        record(10, mapping(struct.pack("<IIQQ", 8, 1, 4242, 1), b"/bin/true")),
        record(10, mapping(bytes([4, 0, 0, 0]) + b"\xab" * 4 + bytes(16), b"/bin/false"), misc=1 << 14),
        record(2, struct.pack("<QQ", 9, 1234)),
    ]
)
RECORDS = [
    Comm(1, 2, 77, "a\udcffb", True),
    Fork(1, 2, 3, 4, 50),
    Exit(1, 2, 3, 4, 60),
    Mmap2(1, 2, 77, 0x1000, 0x2000, 0x3000, 5, 2, "/bin/true", b"", 8, 1, 4242),
    Mmap2(1, 2, 77, 0x1000, 0x2000, 0x3000, 5, 2, "/bin/false", b"\xab" * 4, 0, 0, 0),
    Lost(77, 9, 1234),
]


def test_every_record_is_read() -> None:
    assert list(sideband_records(SPAN, SAMPLE_TYPE)) == RECORDS


@pytest.mark.parametrize(
    ("sample_type", "trailer"),
    [
        (records.SAMPLE_TIME, struct.pack("<Q", 77)),
        (SAMPLE_TYPE | records.SAMPLE_ID, struct.pack("<IIQQQ", 5, 6, 77, 8, 99)),
        (SAMPLE_TYPE | records.SAMPLE_CPU | records.SAMPLE_STREAM_ID, struct.pack("<IIQQQQ", 5, 6, 77, 8, 9, 99)),
    ],
)
def test_the_time_is_found_behind_any_sample_type(sample_type: int, trailer: bytes) -> None:
    body = struct.pack("<QQ", 9, 1234) + trailer
    span = struct.pack("<IHH", 2, 0, 8 + len(body)) + body
    assert list(sideband_records(span, sample_type)) == [Lost(77, 9, 1234)]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 16, len(COMM) + 1, 0xFFFF])
def test_a_record_of_a_wrong_size_ends_the_span_and_is_counted(size: int) -> None:
    broken = COMM + COMM[:6] + struct.pack("<H", size) + COMM[8:]
    assert list(sideband_records(broken, SAMPLE_TYPE)) == [RECORDS[0], Unreadable(len(COMM), len(COMM))]


def test_a_span_cut_anywhere_gives_its_whole_records() -> None:
    for length in range(len(SPAN)):
        read = list(sideband_records(SPAN[:length], SAMPLE_TYPE))
        whole = [item for item in read if not isinstance(item, Unreadable)]
        assert whole == RECORDS[: len(whole)]
        for item in read[len(whole) :]:
            assert isinstance(item, Unreadable)
            assert item.offset + item.length == length


@given(st.binary(max_size=300), st.integers(0, 2**17))
def test_any_bytes_end(span: bytes, sample_type: int) -> None:
    assert len(list(sideband_records(span, sample_type))) <= len(span) // 8 + 1


@given(st.integers(0, len(SPAN) - 1), st.integers(0, 255))
def test_any_byte_may_change(position: int, value: int) -> None:
    broken = SPAN[:position] + bytes([value]) + SPAN[position + 1 :]
    assert len(list(sideband_records(broken, SAMPLE_TYPE))) <= len(SPAN) // 8 + 1
