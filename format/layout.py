"""The fixed bytes of a recording: block kinds, the block header and the trailer.

A recording is a legal zstd file. Every block is a skippable zstd frame, which holds the header drawn below, followed by
one zstd frame, which holds the payload. Nothing else in the format has a fixed layout; docs/format.md says the rest.
"""

import enum
import struct
import zlib
from dataclasses import dataclass

__all__ = [
    "HEADER_SIZE",
    "MAJOR",
    "MAX_RING_PAYLOAD",
    "MAX_VALUE_PAYLOAD",
    "MINOR",
    "NO_STREAM",
    "RING_KINDS",
    "SYNC",
    "TRAILER_SIZE",
    "BlockHeader",
    "Kind",
    "max_payload",
    "pack_trailer",
    "unpack_trailer",
]

MAJOR = 0
MINOR = 4

NO_STREAM = 0xFFFFFFFF
"""The stream of a block that belongs to no CPU."""

MAX_RING_PAYLOAD = 64 << 20
"""Bytes of the largest ring span: the writer makes no larger one, and a reader never allocates more for one block."""

MAX_VALUE_PAYLOAD = 8 << 20
"""Bytes of the largest msgpack payload: a string can take 44 times the bytes that state it, and 512 MiB must do."""

SYNC = b"\x89offwake"
"""What a reader searches for in damaged bytes. The first byte is not ASCII: text files cannot look like recordings."""

HEADER_SIZE = 128
TRAILER_SIZE = 32

_SKIPPABLE = 0x184D2A50
_TRAILER_SYNC = b"\x89owindex"
_CRITICAL = 1
_CRC = struct.Struct("<I")


class Kind(enum.IntEnum):
    """What a block's payload is. EVENTS and SIDEBAND are a perf ring's bytes, the others msgpack."""

    KEYFRAME = 1
    EVENTS = 2
    SIDEBAND = 3
    TICK = 4
    SNAPSHOT = 5
    SYMBOLS = 6
    INDEX = 7
    FOOTER = 8
    UNWIND = 9

    @property
    def flags(self) -> int:
        """The header flags of this kind: a reader that does not know a critical kind must not go on without it."""
        return _CRITICAL if self in (Kind.KEYFRAME, Kind.EVENTS) else 0


_KINDS = frozenset(Kind)

RING_KINDS = frozenset({Kind.EVENTS, Kind.SIDEBAND})


def max_payload(kind: int) -> int:
    """Return how many bytes a payload of this kind may have."""
    return MAX_RING_PAYLOAD if kind in RING_KINDS else MAX_VALUE_PAYLOAD


#   0 ┌ skippable magic u32 ────────┬ bytes that follow: 120 u32 ─┐
#   8 │ sync  89 6f 66 66 77 61 6b 65                             │
#  16 │ file id (random)                                          │
#  24 │                                                           │
#  32 │ major u16    │ minor u16    │ kind u16     │ flags u16    │   the places down to here are kept by every version
#  40 │ stream (CPU) u32            │ segment u32                 │
#  48 │ sequence in the file                                  u64 │
#  56 │ sequence among this kind and stream                   u64 │
#  64 │ begin_ns                                              u64 │
#  72 │ end_ns                                                u64 │
#  80 │ ring_tail                                             u64 │
#  88 │ ring_head                                             u64 │
#  96 │ attempted                                             u64 │
# 104 │ lost                                                  u64 │
# 112 │ payload length u32          │ zstd frame length u32       │
# 120 └ CRC-32 of the zstd frame ───┴ CRC-32 of bytes 0..124 ─────┘
_HEADER = struct.Struct("<II 8s 16s HHHH II QQQQQQQQ III")


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """One block's header: the fields in their order on disk, then where the block lies in its file."""

    file_id: bytes
    major: int
    minor: int
    kind: int
    flags: int
    stream: int
    segment: int
    sequence: int
    stream_sequence: int
    begin_ns: int
    end_ns: int
    ring_tail: int
    ring_head: int
    attempted: int
    lost: int
    raw_length: int
    compressed_length: int
    frame_crc: int
    header_size: int = HEADER_SIZE
    offset: int = 0

    @property
    def frame_offset(self) -> int:
        """Where the zstd frame begins."""
        return self.offset + self.header_size

    @property
    def end(self) -> int:
        """Where the next block begins."""
        return self.frame_offset + self.compressed_length

    @property
    def critical(self) -> bool:
        """Whether a reader that does not know the kind must stop."""
        return bool(self.flags & _CRITICAL)

    @property
    def known(self) -> bool:
        """Whether this version of offwake knows the kind."""
        return self.kind in _KINDS

    def __str__(self) -> str:
        name = Kind(self.kind).name if self.known else f"kind {self.kind}"
        return f"{name} block" if self.stream == NO_STREAM else f"{name} block of CPU {self.stream}"

    def pack(self) -> bytes:
        """Return the header's 128 bytes."""
        head = _HEADER.pack(
            _SKIPPABLE, HEADER_SIZE - 8, SYNC, self.file_id,
            self.major, self.minor, self.kind, self.flags,
            self.stream, self.segment, self.sequence, self.stream_sequence,
            self.begin_ns, self.end_ns, self.ring_tail, self.ring_head,
            self.attempted, self.lost, self.raw_length, self.compressed_length, self.frame_crc,
        )  # fmt: skip
        return head + _CRC.pack(zlib.crc32(head))

    @classmethod
    def unpack(cls, data: bytes, offset: int) -> "BlockHeader | None":
        """Return the header in the first 128 bytes of `data`, read at `offset` of a file; None when it is not sound.

        A longer header is a newer minor version's: what follows the 128 bytes is skipped.
        """
        if len(data) < HEADER_SIZE or data[8:16] != SYNC or zlib.crc32(data[:124]) != _CRC.unpack_from(data, 124)[0]:
            return None
        magic, follows, _, *fields = _HEADER.unpack_from(data)
        if magic != _SKIPPABLE or follows < HEADER_SIZE - 8:
            return None
        place = [8 + follows, offset]
        return cls(*fields, *place)


#   0 ┌ skippable magic u32 ────────┬ bytes that follow: 24 u32 ──┐
#   8 │ sync  89 6f 77 69 6e 64 65 78                             │
#  16 │ offset of the FOOTER block                            u64 │
#  24 └ 0 u32 ──────────────────────┴ CRC-32 of bytes 0..28 ──────┘
_TRAILER = struct.Struct("<II 8s Q I")


def pack_trailer(footer_offset: int) -> bytes:
    """Return the 32 bytes that end a complete recording."""
    body = _TRAILER.pack(_SKIPPABLE, TRAILER_SIZE - 8, _TRAILER_SYNC, footer_offset, 0)
    return body + _CRC.pack(zlib.crc32(body))


def unpack_trailer(data: bytes) -> int | None:
    """Return where the FOOTER block begins, from a trailer's 32 bytes; None when they are no sound trailer."""
    if len(data) != TRAILER_SIZE or zlib.crc32(data[:28]) != _CRC.unpack_from(data, 28)[0]:
        return None
    magic, _, sync, footer_offset, _ = _TRAILER.unpack_from(data)
    return footer_offset if (magic, sync) == (_SKIPPABLE, _TRAILER_SYNC) else None
