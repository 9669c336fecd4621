"""What is no recording, what is too new, and what was made to harm: one clear error, or sound blocks, within bounds."""

import os
import resource
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offwake.errors import DamagedRecording, NotARecording, OffwakeError, UnsupportedVersion
from offwake.format.codec import Compressor
from offwake.format.layout import HEADER_SIZE, MAJOR, MINOR, SYNC, BlockHeader, Kind, pack_trailer
from offwake.format.reader import TraceReader
from offwake.format.values import pack
from tests.format.builders import as_file, block_bytes, headers, reading, small_recording

WHOLE = small_recording()
HEADERS = headers(WHOLE)
BLOCKS = block_bytes(WHOLE)


def remade(header: BlockHeader, frame: bytes = b"") -> bytes:
    """Return a block with a right checksum, whatever its header says."""
    frame = frame or WHOLE[header.frame_offset : header.end]
    return replace(header, compressed_length=len(frame), frame_crc=zlib.crc32(frame)).pack() + frame


FOREIGN = {
    "perf.data": b"PERFILE2" + bytes(96),
    "gzip": b"\x1f\x8b\x08" + bytes(100),
    "zstd": Compressor().compress(b"hello"),
    "text": b"comm;main;read 17\n" * 1000,
    "zeros": bytes(100_000),
    "one byte": b"\0",
    "text about recordings": b"the magic is \\x89offwake\n",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_no_recording(name: str) -> None:
    with pytest.raises(NotARecording, match="is not an offwake recording"), reading(FOREIGN[name]):
        pass


def test_an_empty_file_is_no_recording() -> None:
    with pytest.raises(NotARecording, match="is empty"), reading(b""):
        pass


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(NotARecording, match="is not a regular file"):
            TraceReader.open(path)


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(OffwakeError, match="No such file"):
        TraceReader.open(tmp_path / "nothing")


def test_a_refused_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    before = len(os.listdir("/proc/self/fd"))
    for path in (tmp_path / "text", tmp_path):
        with pytest.raises(NotARecording):
            TraceReader.open(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_newer_major_is_refused() -> None:
    newer = remade(replace(HEADERS[0], major=MAJOR + 1))
    for data in (newer, WHOLE + newer, newer[:64] + bytes(200)):
        with pytest.raises(UnsupportedVersion, match="use a newer|with a newer"), reading(data):
            pass


def test_a_newer_minor_is_read_with_a_notice() -> None:
    longer = replace(HEADERS[1], minor=MINOR + 1).pack()
    appended = b"appended"
    head = struct.pack("<II", *struct.unpack("<II", longer[:4] + struct.pack("<I", 120 + len(appended))))
    body = head + longer[8:124]
    block = body + struct.pack("<I", zlib.crc32(body)) + appended + BLOCKS[1][HEADER_SIZE:]
    unknown = remade(replace(HEADERS[2], kind=999, flags=0, minor=MINOR + 1))
    with reading(b"".join([BLOCKS[0], block, unknown, *BLOCKS[3:-3]])) as reader:
        reader.verify()
        assert reader.damage == []
        assert reader.payload(reader.blocks[1]) is not None
        assert reader.blocks[2].kind == 999
        assert reader.notices[0].startswith(f"written by format {MAJOR}.{MINOR + 1}")


def test_an_unknown_critical_block_is_refused() -> None:
    block = remade(replace(HEADERS[2], kind=999, minor=MINOR + 1))
    with pytest.raises(UnsupportedVersion, match=f"kind 999 block .* of format {MAJOR}.{MINOR + 1}"):
        with reading(b"".join([*BLOCKS[:2], block])):
            pass


def test_bombs_are_damage_and_take_no_memory() -> None:
    frame = Compressor().compress(bytes(65 << 20))
    lie = b"\x28\xb5\x2f\xfd\xe4" + (1 << 40).to_bytes(8, "little") + bytes(8)
    bombs = [
        remade(replace(HEADERS[1], raw_length=65 << 20), frame),
        remade(replace(HEADERS[1], raw_length=1000), frame),
        remade(replace(HEADERS[1], raw_length=1000), lie),
        replace(HEADERS[1], compressed_length=2**32 - 1).pack(),
    ]
    for bomb in bombs:
        tracemalloc.start()
        with reading(BLOCKS[0] + bomb + b"".join(BLOCKS[2:])) as reader:
            reader.verify()
            assert {header.sequence for header in reader.blocks if reader.payload(header) is not None} == {
                header.sequence for header in HEADERS if header.sequence != 1
            }
            assert reader.damage
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
        tracemalloc.stop()


def index_and_footer(index: object, footer: object, offset: int) -> bytes:
    """Return the end of a recording whose index and footer say anything."""
    parts, sequence = [], HEADERS[-2].sequence
    for kind, value in ((Kind.INDEX, index), (Kind.FOOTER, footer)):
        payload = pack(value)
        header = replace(HEADERS[-2], kind=kind, sequence=sequence, raw_length=len(payload))
        parts.append(remade(header, Compressor().compress(payload)))
        sequence += 1
    return b"".join(parts) + pack_trailer(offset + len(parts[0]))


INDEX_AT = HEADERS[-2].offset
LIES: list[object] = [
    None, 7, "x", [], {},
    {"previous": INDEX_AT}, {"previous": -1}, {"previous": 2**63}, {"previous": "x", "entries": 5},
    {"entries": {}}, {"entries": [1, [2], [3, 4], ["x", b""], [-1, b"x"], [0, b""], [2**64 - 1, BLOCKS[0][:128]]]},
    {"entries": [[INDEX_AT // 2, BLOCKS[0][:128]]]}, {"entries": [[len(WHOLE) * 2, BLOCKS[3][:128]]]},
]  # fmt: skip


@pytest.mark.parametrize("footer_offset", [0, 5, INDEX_AT, len(WHOLE), 2**63, 2**64 - 1])
def test_a_trailer_that_lies_changes_nothing(footer_offset: int) -> None:
    with reading(WHOLE[:-32] + pack_trailer(footer_offset)) as reader:
        reader.verify()
        assert [header.sequence for header in reader.blocks] == list(range(len(HEADERS)))
        assert [(damage.offset, damage.length) for damage in reader.damage] == [(len(WHOLE) - 32, 32)]
        assert not reader.finished


@pytest.mark.parametrize("lie", LIES)
def test_an_index_that_lies_changes_nothing(lie: object) -> None:
    for footer in ({"index_offset": INDEX_AT}, {"index_offset": lie}, lie):
        with reading(WHOLE[:INDEX_AT] + index_and_footer(lie, footer, INDEX_AT)) as reader:
            reader.verify()
            assert [header.sequence for header in reader.blocks] == list(range(len(HEADERS)))
            assert reader.finished == isinstance(footer, dict)


def test_an_index_that_disagrees_with_a_header_is_damage() -> None:
    entries = [[header.offset, header.pack()] for header in HEADERS[:-2]]
    entries[3][1] = entries[4][1]
    data = WHOLE[:INDEX_AT] + index_and_footer({"entries": entries}, {"index_offset": INDEX_AT}, INDEX_AT)
    with reading(data) as reader:
        assert [header.sequence for header in reader.blocks] == list(range(len(HEADERS)))
        assert [damage.offset for damage in reader.damage] == [HEADERS[3].offset]


HOSTILE_HEADERS = st.builds(
    replace,
    st.sampled_from(HEADERS),
    major=st.sampled_from([0, 0, 0, 1]),
    minor=st.integers(0, 3),
    kind=st.integers(0, 10),
    flags=st.integers(0, 1),
    stream=st.integers(0, 3) | st.integers(0, 2**32 - 1),
    sequence=st.integers(0, 20) | st.integers(0, 2**64 - 1),
    stream_sequence=st.integers(0, 20) | st.integers(0, 2**64 - 1),
    ring_tail=st.integers(0, 2**64 - 1),
    ring_head=st.integers(0, 2**64 - 1),
    raw_length=st.integers(0, 300) | st.integers(0, 2**32 - 1),
    compressed_length=st.integers(0, 300) | st.integers(0, 2**32 - 1),
)
PARTS = st.one_of(
    st.sampled_from(BLOCKS),
    HOSTILE_HEADERS.map(BlockHeader.pack),
    st.builds(remade, HOSTILE_HEADERS),
    st.binary(max_size=200),
    st.integers(0, 2**64 - 1).map(pack_trailer),
    st.just(SYNC),
)


@given(st.lists(PARTS, max_size=12))
def test_any_mixture_gives_blocks_or_one_clear_error(parts: list[bytes]) -> None:
    try:
        with reading(b"".join(parts)) as reader:
            reader.verify()
            for header in reader.blocks:
                payload = reader.payload(header)
                assert payload is None or len(payload) == header.raw_length
            assert all(damage.offset + damage.length <= reader.size for damage in reader.damage)
            assert all(damage.what.isprintable() for damage in reader.damage)
    except (DamagedRecording, NotARecording, UnsupportedVersion) as error:
        assert str(error).isprintable()


def giants(folder: Path) -> Iterator[Path]:
    """Yield files that are cheap to make and dear to read."""
    for name, head, size in [("foreign", b"text", 1 << 42), ("grown", WHOLE, 1 << 42)]:
        path = folder / name
        path.write_bytes(head)
        os.truncate(path, size)
        yield path
    path = folder / "magic"
    path.write_bytes(WHOLE[:16] * (4 << 20))
    yield path
    path = folder / "overlapping"
    path.write_bytes(b"".join(replace(HEADERS[1], sequence=n, compressed_length=2**20).pack() for n in range(100_000)))
    yield path


def test_giant_files_take_ten_seconds_and_512_mib_at_most(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from offwake.errors import OffwakeError
from offwake.format.reader import TraceReader
try:
    with TraceReader.open(Path(sys.argv[1])) as reader:
        reader.verify()
except OffwakeError:
    pass
# Not ru_maxrss: that remembers the parent's memory at the fork.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    for path in giants(tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (10, 10)),
        )
        assert int(done.stdout) < 512 << 10
        path.unlink()


def test_a_path_as_a_link_is_followed_to_a_regular_file(tmp_path: Path) -> None:
    with as_file(WHOLE) as path:
        (tmp_path / "link").symlink_to(path)
        with TraceReader.open(tmp_path / "link") as reader:
            assert reader.finished
