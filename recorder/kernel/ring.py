"""One CPU's perf ring: whole spans out of it, untouched.

The kernel writes records at `data_head`; what lies between `data_tail` and `data_head` is ours to copy, and room is given
back by moving the tail. No record is looked at here.

The kernel asks for barriers there (perf_output_put_handle, kernel/events/ring_buffer.c): what was written before the head
must be read after it, and what is read must be read before the tail is stored. x86-64 keeps these orders by itself.
"""

import mmap
import struct
from dataclasses import dataclass
from types import TracebackType

from offwake.errors import CannotRecord
from offwake.recorder.kernel.perf_event import Opened

__all__ = ["PAGE", "Ring", "RingSpan", "ring_pages"]

PAGE = mmap.PAGESIZE
HEAD_AND_TAIL = struct.Struct("QQ")  # data_head, data_tail in struct perf_event_mmap_page
HEAD_AT, TAIL_AT = 1024, 1032
TAKEN_AT_MOST = 4 << 20
RECORD_SIZE = 3  # of the words of 16 bits that a record begins with, struct perf_event_header; it is a multiple of 8


def ring_pages(total_bytes: int, cpus: int) -> int:
    """Return the pages of each ring: a power of two, all rings together within the total, at least 256 KiB each."""
    pages = max(total_bytes // cpus, 256 << 10) // PAGE
    return 1 << (pages.bit_length() - 1)


@dataclass(frozen=True)
class RingSpan:
    """Bytes `tail` to `head` of a ring, counted since it was opened."""

    data: bytes
    tail: int
    head: int


class Ring:
    """The mapped ring of an open event."""

    def __init__(self, event: Opened, pages: int) -> None:
        self.event = event
        self.size = pages * PAGE
        try:
            self._map = mmap.mmap(event.fd, self.size + PAGE)
        except OSError as error:
            raise CannotRecord(
                f"no memory for a ring of {self.size >> 10} KiB on CPU {event.cpu}: {error.strerror}; "
                "try a smaller --buffer-mb"
            ) from error

    @property
    def holds_any(self) -> bool:
        """Whether there is anything to take."""
        head, tail = HEAD_AND_TAIL.unpack_from(self._map, HEAD_AT)
        return bool(head != tail)

    def take(self) -> RingSpan | None:
        """Copy what the kernel has written since the last time and give the room back; None when there is nothing.

        Of more than 4 MiB the first whole records that make up so much: a ring that ran full is taken in parts.
        """
        head, tail = HEAD_AND_TAIL.unpack_from(self._map, HEAD_AT)
        if head == tail:
            return None
        if head - tail > TAKEN_AT_MOST:
            data = self._whole_records(tail)
            head = tail + len(data)
        else:
            data = self._bytes(tail, head)
        struct.pack_into("Q", self._map, TAIL_AT, head)
        return RingSpan(data, tail, head)

    def _bytes(self, tail: int, head: int) -> bytes:
        start, stop = PAGE + tail % self.size, PAGE + (head - 1) % self.size + 1
        if start < stop:
            return self._map[start:stop]
        return self._map[start : PAGE + self.size] + self._map[PAGE:stop]

    def _whole_records(self, tail: int) -> bytes:
        data, at = self._bytes(tail, tail + TAKEN_AT_MOST), 0
        words = memoryview(data).cast("H")
        end = len(words)
        while at < end and (after := at + (words[at + RECORD_SIZE] >> 1)) <= end and after > at:
            at = after
        return data[: 2 * at]

    def close(self) -> None:
        """Unmap the ring."""
        self._map.close()

    def __enter__(self) -> "Ring":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
