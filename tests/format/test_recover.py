"""recover: a whole file, with what is missing still missing."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from offwake.errors import DamagedRecording, OutputError
from offwake.format.layout import HEADER_SIZE, Kind
from offwake.format.reader import TraceReader
from offwake.format.recover import Recovery, recover
from offwake.format.writer import Block, TraceWriter
from tests.format.builders import block_bytes, headers, payloads, small_recording

WHOLE = small_recording(events=600, payload_length=10)
HEADERS = headers(WHOLE)
BLOCKS = block_bytes(WHOLE)
PAYLOADS = payloads(WHOLE)


def recovered(tmp_path: Path, data: bytes) -> tuple[Recovery, TraceReader]:
    source, destination = tmp_path / "x.offwake.part", tmp_path / "x.offwake"
    source.write_bytes(data)
    recovery = recover(source, destination)
    assert source.read_bytes() == data
    assert sorted(os.listdir(tmp_path)) == ["x.offwake", "x.offwake.part"]
    assert stat.S_IMODE(destination.stat().st_mode) == 0o600
    return recovery, TraceReader.open(destination)


def data_blocks(reader: TraceReader) -> list[tuple[object, ...]]:
    """Return everything but where the blocks are in which file."""
    return [
        (header.kind, header.stream, header.segment, header.stream_sequence, header.begin_ns, header.end_ns,
         header.ring_tail, header.ring_head, reader.payload(header))
        for header in reader.blocks
        if header.kind not in (Kind.INDEX, Kind.FOOTER)
    ]  # fmt: skip


@pytest.mark.parametrize("blocks", [1, 2, 255, 256, 257, 400, len(HEADERS) - 2, len(HEADERS) - 1, len(HEADERS)])
def test_a_killed_recording_becomes_whole(tmp_path: Path, blocks: int) -> None:
    killed = b"".join(BLOCKS[:blocks])
    recovery, reader = recovered(tmp_path, killed)
    with reader, TraceReader.open(tmp_path / "x.offwake.part") as source:
        reader.verify()
        assert reader.finished
        assert reader.damage == recovery.damage == []
        assert recovery.blocks_lost == 0
        assert data_blocks(reader) == data_blocks(source)
        assert len(data_blocks(reader)) == recovery.blocks_copied
        assert reader.footer is not None
        assert reader.footer["reason"].startswith("recovered: ")
        assert reader.footer["blocks_lost"] == 0


def test_what_was_lost_is_still_missing(tmp_path: Path) -> None:
    flipped = bytearray(BLOCKS[7])
    flipped[-3] ^= 1
    parts = [*BLOCKS[:3], *BLOCKS[5:7], bytes(flipped), *BLOCKS[8:300], BLOCKS[300][:50]]
    recovery, reader = recovered(tmp_path, b"".join(parts))
    with reader:
        reader.verify()
        assert reader.finished
        assert recovery.blocks_lost == 4
        missing = [damage.what for damage in reader.damage if " before the " in damage.what]
        assert [what.split(" before")[0] for what in missing] == [
            "2 blocks missing",
            "1 block missing",
            "1 block missing",
        ]
        again = recover(tmp_path / "x.offwake", tmp_path / "again.offwake")
        assert again.blocks_lost == 4
        with TraceReader.open(tmp_path / "again.offwake") as second:
            second.verify()
            assert [damage.what for damage in second.damage] == [damage.what for damage in reader.damage]


def test_numbers_that_no_recorder_gives_can_be_copied(tmp_path: Path) -> None:
    """The last blocks of both CPUs have the largest numbers that a header can hold."""
    blocks, most = BLOCKS[:10], (1 << 64) - 1
    for place in (8, 9):
        header = replace(HEADERS[place], sequence=(1 << 64) - 10 + place, stream_sequence=most, attempted=most, lost=most)
        blocks[place] = header.pack() + BLOCKS[place][HEADER_SIZE:]
    source, destination = tmp_path / "killed", tmp_path / "new"
    source.write_bytes(b"".join(blocks))
    recover(source, destination, lambda reader, writer: writer.write(Block(Kind.EVENTS, 1), b""))
    with TraceReader.open(destination) as reader:
        assert [reader.payload(header) for header in reader.blocks[:10]] == [PAYLOADS[place] for place in range(10)]
        assert reader.finished and reader.footer is not None
        assert reader.footer["blocks_lost"] > 0


def test_the_footer_of_a_damaged_recording_is_kept(tmp_path: Path) -> None:
    recovery, reader = recovered(tmp_path, b"".join([*BLOCKS[:3], *BLOCKS[4:]]))
    with reader:
        assert reader.footer is not None
        assert reader.footer["reason"] == "recovered: test"
        assert recovery.blocks_lost == 1


def test_blocks_may_be_added(tmp_path: Path) -> None:
    def symbols(reader: TraceReader, writer: TraceWriter) -> None:
        writer.write_values(Block(Kind.SYMBOLS), {"blocks": len(reader.blocks)})

    source, destination = tmp_path / "killed", tmp_path / "new"
    source.write_bytes(b"".join(BLOCKS[:10]))
    recover(source, destination, symbols)
    with TraceReader.open(destination) as reader:
        assert [reader.values(header) for header in reader.blocks if header.kind == Kind.SYMBOLS] == [{"blocks": 10}]
        assert reader.finished


def test_nothing_is_overwritten_and_nothing_is_left_behind(tmp_path: Path) -> None:
    source = tmp_path / "x.offwake.part"
    source.write_bytes(WHOLE)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/nowhere")
    for name in ("file", "folder", "link"):
        with pytest.raises(OutputError, match="exists"):
            recover(source, tmp_path / name)
    with pytest.raises(OutputError, match="cannot be written"):
        recover(source, tmp_path / "no such folder" / "new")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "link", "x.offwake.part"]


def test_a_failed_recovery_leaves_no_file(tmp_path: Path) -> None:
    def fail(reader: TraceReader, writer: TraceWriter) -> None:
        raise KeyboardInterrupt

    source = tmp_path / "x.offwake.part"
    source.write_bytes(WHOLE)
    with pytest.raises(KeyboardInterrupt):
        recover(source, tmp_path / "new", fail)
    source.write_bytes(WHOLE[:100])
    with pytest.raises(DamagedRecording):
        recover(source, tmp_path / "new")
    assert os.listdir(tmp_path) == ["x.offwake.part"]
