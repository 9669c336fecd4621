"""What a flight recorder holds: the last segments, as compressed as a file has them, in bounded memory.

A segment is read without those before it, so the oldest can be dropped whole, and what is left is a recording that only
lacks its end.
"""

import ctypes
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from offwake.format.layout import HEADER_SIZE, BlockHeader, Kind
from offwake.format.writer import TraceWriter

__all__ = ["HeldBlock", "HeldSegments"]

BLOCK_BYTES = HEADER_SIZE + 512  # beside its frame: a header is an object of some twenty

# malloc_trim(3), where the C library has it. By itself it keeps what was freed: a busy minute would take memory for good.
_give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)


class HeldBlock(NamedTuple):
    """A block as TraceWriter.copy takes it."""

    header: BlockHeader
    frame: bytes


@dataclass
class _Segment:
    begin_ns: int
    blocks: list[HeldBlock] = field(default_factory=list)
    size: int = 0


class HeldSegments(TraceWriter):
    """A writer that keeps what it is given: the segments of the last `window_ns`, in at most `max_bytes`.

    Less than the window where they need more memory. The segment that is being written is never dropped. `bytes_written` is
    what they take now.
    """

    def __init__(self, window_ns: int, max_bytes: int) -> None:
        super().__init__(-1)
        self._window_ns, self._max_bytes = window_ns, max_bytes
        self._segments: deque[_Segment] = deque()

    def append(self, header: BlockHeader, frame: bytes) -> None:
        """Keep a block; a KEYFRAME begins a segment."""
        if header.kind == Kind.KEYFRAME:
            self._segments.append(_Segment(header.begin_ns))
        frame = bytes(memoryview(frame))  # zstandard's keeps the room that the payload might have taken
        segment, size = self._segments[-1], len(frame) + BLOCK_BYTES
        segment.blocks.append(HeldBlock(header, frame))
        segment.size += size
        self.bytes_written += size
        oldest_ns, held = segment.begin_ns - self._window_ns, len(self._segments)
        while len(self._segments) > 1 and (
            self._segments[1].begin_ns <= oldest_ns or self.bytes_written > self._max_bytes
        ):
            self.bytes_written -= self._segments.popleft().size
        if _give_back and len(self._segments) < held:
            _give_back(0)

    def blocks(self) -> list[HeldBlock]:
        """Return what is held, in order."""
        return [block for segment in self._segments for block in segment.blocks]
