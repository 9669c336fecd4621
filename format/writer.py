"""TraceWriter: puts blocks into a file, front to back, one system call a block.

It never seeks and never looks back, so the file may be a pipe, and what a killed recorder leaves behind reads up to its
last whole block.
"""

import os
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from offwake.format import values
from offwake.format.codec import Buffer, Compressor
from offwake.format.layout import MAJOR, MINOR, NO_STREAM, BlockHeader, Kind, max_payload, pack_trailer

__all__ = ["Block", "Edit", "TraceWriter"]

Edit = Callable[[Kind, Buffer], Buffer]
"""What to write in place of a block's payload."""

_BLOCKS_PER_INDEX = 256


@dataclass(frozen=True)
class Block:
    """What the caller knows about a block; the writer adds the numbers, lengths and checksums of its header.

    `ring_tail` and `ring_head` are offsets in the perf ring: a ring's blocks continue each other. `attempted` and
    `lost` count this CPU's events from the start of the recording, as far as they are known.
    """

    kind: Kind
    stream: int = NO_STREAM
    begin_ns: int = 0
    end_ns: int = 0
    ring_tail: int = 0
    ring_head: int = 0
    attempted: int = 0
    lost: int = 0


class TraceWriter:
    """Writes one recording into `fd`, which it neither opens, syncs nor closes. For one thread.

    `bytes_written` and `blocks_written` count what the file has taken. `edit`, where it is set, is given every block's
    kind and payload, and returns what is written in its place: so a recording is redacted.
    """

    def __init__(self, fd: int, file_id: bytes | None = None) -> None:
        self.edit: Edit | None = None
        self.bytes_written = 0
        self.blocks_written = 0
        self._fd = fd
        self._file_id = os.urandom(16) if file_id is None else file_id
        self._compressor = Compressor()
        self._segment = 0
        self._sequence = 0
        self._stream_sequences: Counter[tuple[int, int]] = Counter()
        self._unindexed: list[list[int | bytes]] = []
        self._last_index: int | None = None

    def begin_segment(self, keyframe: dict[str, Any]) -> None:
        """Write a KEYFRAME: with it, the blocks that follow can be read without any before it."""
        self.write_values(Block(Kind.KEYFRAME), keyframe)

    def write_values(self, block: Block, value: Any) -> None:
        """Write a block whose payload is `value` as msgpack."""
        self.write(block, values.pack(value))

    def write(self, block: Block, payload: Buffer | Sequence[Buffer]) -> None:
        """Write one block with one writev; its payload may come in parts. A KEYFRAME begins a segment.

        Raises ValueError for a payload above the bound of its kind, and the OSError of a write that fails: the file
        then ends in part of a block, and a block written after that shows the gap.
        """
        raw = payload if isinstance(payload, Buffer) else b"".join(payload)
        raw = self.edit(block.kind, raw) if self.edit else raw
        raw_length, limit = memoryview(raw).nbytes, max_payload(block.kind)
        if raw_length > limit:
            raise ValueError(f"a {block.kind.name} payload of {raw_length} bytes must be split: the limit is {limit}")
        frame = self._compressor.compress(raw)
        self._segment += block.kind == Kind.KEYFRAME
        stream = (block.kind, block.stream)
        header = BlockHeader(
            file_id=self._file_id,
            major=MAJOR,
            minor=MINOR,
            kind=block.kind,
            flags=block.kind.flags,
            stream=block.stream,
            segment=self._segment,
            sequence=self._sequence,
            stream_sequence=self._stream_sequences[stream],
            begin_ns=block.begin_ns,
            end_ns=block.end_ns,
            ring_tail=block.ring_tail,
            ring_head=block.ring_head,
            attempted=block.attempted,
            lost=block.lost,
            raw_length=raw_length,
            compressed_length=len(frame),
            frame_crc=zlib.crc32(frame),
        )
        self._stream_sequences[stream] += 1
        self.append(header, frame)

    def copy(self, header: BlockHeader, frame: bytes) -> None:
        """Write a block of another recording as it is, under the next number of this file."""
        self._segment = header.segment
        self._stream_sequences[header.kind, header.stream] = (header.stream_sequence + 1) % (1 << 64)
        self.append(replace(header, file_id=self._file_id, sequence=self._sequence), frame)

    def skip(self, blocks: int) -> None:
        """Leave out the numbers of blocks that were lost, so that readers report them as missing here."""
        self._sequence += blocks

    def finish(self, footer: dict[str, Any]) -> None:
        """Write the index of the blocks since the last one, the FOOTER and the trailer: the file is complete."""
        self._write_index()
        footer_offset = self.bytes_written
        self.write_values(
            Block(Kind.FOOTER), {**footer, "index_offset": self._last_index, "blocks": self.blocks_written}
        )
        self._write_all([pack_trailer(footer_offset)])

    def append(self, header: BlockHeader, frame: bytes) -> None:
        """Put a block that has its numbers where it belongs: behind the others."""
        self._sequence += 1
        offset = self.bytes_written
        packed = header.pack()
        self._write_all([packed, frame])
        self.blocks_written += 1
        self._unindexed.append([offset, packed])
        if len(self._unindexed) == _BLOCKS_PER_INDEX:
            self._write_index()

    def _write_index(self) -> None:
        entries, self._unindexed = self._unindexed, []
        offset = self.bytes_written
        self.write_values(Block(Kind.INDEX), {"previous": self._last_index, "entries": entries})
        self._last_index = offset

    def _write_all(self, parts: list[bytes]) -> None:
        written = os.writev(self._fd, parts)
        self.bytes_written += written
        rest = memoryview(b"".join(parts))[written:] if written < sum(map(len, parts)) else memoryview(b"")
        while rest:
            written = os.write(self._fd, rest)
            self.bytes_written += written
            rest = rest[written:]
