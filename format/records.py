"""perf's own records: what the kernel writes into the rings, as include/uapi/linux/perf_event.h lays it out.

EVENTS spans are decoded in bulk by the analyzer, with the numbers below. SIDEBAND spans have few records, and are read
here one by one.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "BATCH_KIND",
    "CONTEXT_KERNEL",
    "CONTEXT_MAX",
    "CONTEXT_USER",
    "MISC_COMM_EXEC",
    "MISC_MMAP_BUILD_ID",
    "RECORD_COMM",
    "RECORD_EXIT",
    "RECORD_FORK",
    "RECORD_LOST",
    "RECORD_MMAP2",
    "RECORD_SAMPLE",
    "SAMPLE_CALLCHAIN",
    "SAMPLE_CPU",
    "SAMPLE_ID",
    "SAMPLE_IDENTIFIER",
    "SAMPLE_RAW",
    "SAMPLE_STREAM_ID",
    "SAMPLE_TID",
    "SAMPLE_TIME",
    "Comm",
    "Exit",
    "Fork",
    "Lost",
    "Mmap2",
    "Record",
    "Unreadable",
    "raw_records",
    "sideband_records",
]

SAMPLE_TID = 1 << 1
SAMPLE_TIME = 1 << 2
SAMPLE_CALLCHAIN = 1 << 5
SAMPLE_ID = 1 << 6
SAMPLE_CPU = 1 << 7
SAMPLE_STREAM_ID = 1 << 9
SAMPLE_RAW = 1 << 10
SAMPLE_IDENTIFIER = 1 << 16

RECORD_LOST = 2
RECORD_COMM = 3
RECORD_EXIT = 4
RECORD_FORK = 7
RECORD_SAMPLE = 9
RECORD_MMAP2 = 10

MISC_COMM_EXEC = 1 << 13
MISC_MMAP_BUILD_ID = 1 << 14

CONTEXT_KERNEL = 0xFFFFFFFFFFFFFF80
CONTEXT_USER = 0xFFFFFFFFFFFFFE00
CONTEXT_MAX = 0xFFFFFFFFFFFFF001
"""Words of a callchain from here up are no addresses: they say which context the addresses after them are of."""

BATCH_KIND = 0
"""In the raw data of a sample, in place of a kind of event: several events follow, see docs/format.md."""

_HEADER = struct.Struct("<IHH")
_TWO = struct.Struct("<II")
_FOUR_AND_TIME = struct.Struct("<IIIIQ")
_LOST = struct.Struct("<QQ")
_TIME = struct.Struct("<Q")
_MMAP2 = struct.Struct("<IIQQQ24sII")
_INODE = struct.Struct("<IIQQ")


@dataclass(frozen=True, slots=True)
class Comm:
    """A thread has a new name; `exec` says that it runs a new program."""

    pid: int
    tid: int
    time_ns: int
    comm: str
    exec: bool


@dataclass(frozen=True, slots=True)
class Fork:
    """A thread `tid` of process `pid` begins, made by thread `ptid` of process `ppid`."""

    pid: int
    ppid: int
    tid: int
    ptid: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Exit:
    """A thread ends."""

    pid: int
    ppid: int
    tid: int
    ptid: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Mmap2:
    """A file is mapped into a process. `build_id` is b"" where the kernel gave the device and inode instead."""

    pid: int
    tid: int
    time_ns: int
    start: int
    length: int
    file_offset: int
    protection: int
    flags: int
    path: str
    build_id: bytes
    major: int
    minor: int
    inode: int

    @property
    def identity(self) -> bytes:
        """What tells the file from others of its name: its build-id, else `major:minor:inode` in decimal."""
        return self.build_id or f"{self.major}:{self.minor}:{self.inode}".encode()


@dataclass(frozen=True, slots=True)
class Lost:
    """The kernel found no room in this ring for `lost` records of event `event_id`."""

    time_ns: int
    event_id: int
    lost: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The records end here: the `length` bytes at `offset` in the span are no record."""

    offset: int
    length: int


Record = Comm | Fork | Exit | Mmap2 | Lost | Unreadable


def raw_records(span: bytes) -> Iterator[tuple[int, int, bytes] | Unreadable]:
    """Yield the type, misc and body (what follows the 8-byte header) of each record in a ring span.

    A record that is shorter than its header, or longer than what is left of the span, ends it with one Unreadable.
    """
    offset = 0
    while offset < len(span):
        kind, misc, size = _HEADER.unpack_from(span, offset) if len(span) - offset >= _HEADER.size else (0, 0, 0)
        if not _HEADER.size <= size <= len(span) - offset:
            yield Unreadable(offset, len(span) - offset)
            return
        yield kind, misc, span[offset + _HEADER.size : offset + size]
        offset += size


def sideband_records(span: bytes, sample_type: int) -> Iterator[Record]:
    """Yield the records of a SIDEBAND span whose event has this `sample_type`, which must include SAMPLE_TIME.

    Types of no interest are skipped. A record that is too short for its type ends the span with one Unreadable.
    """
    trailer = _SampleId(sample_type)
    offset = 0
    for raw in raw_records(span):
        if isinstance(raw, Unreadable):
            yield raw
            return
        kind, misc, body = raw
        try:
            record = _record(kind, misc, body, trailer)
        except struct.error:
            yield Unreadable(offset, len(span) - offset)
            return
        if record is not None:
            yield record
        offset += _HEADER.size + len(body)


class _SampleId:
    """The words that end every record but samples: TID, TIME, ID, STREAM_ID, CPU, IDENTIFIER, as far as asked for."""

    def __init__(self, sample_type: int) -> None:
        after = (SAMPLE_ID, SAMPLE_STREAM_ID, SAMPLE_CPU, SAMPLE_IDENTIFIER)
        self._from_end = 8 + 8 * sum(bool(sample_type & bit) for bit in after)
        self.size = self._from_end + (8 if sample_type & SAMPLE_TID else 0)

    def time_ns(self, body: bytes) -> int:
        if len(body) < self.size:
            raise struct.error("no room for the sample id")
        time_ns: int = _TIME.unpack_from(body, len(body) - self._from_end)[0]
        return time_ns


def _record(kind: int, misc: int, body: bytes, sample_id: _SampleId) -> Record | None:
    """Return the record; raise struct.error when the body is too short for it."""
    if kind == RECORD_COMM:
        time_ns, fields = sample_id.time_ns(body), body[: -sample_id.size]
        pid, tid = _TWO.unpack_from(fields)
        return Comm(pid, tid, time_ns, _text(fields[_TWO.size :]), bool(misc & MISC_COMM_EXEC))
    if kind == RECORD_FORK:
        return Fork(*_FOUR_AND_TIME.unpack_from(body))
    if kind == RECORD_EXIT:
        return Exit(*_FOUR_AND_TIME.unpack_from(body))
    if kind == RECORD_LOST:
        return Lost(sample_id.time_ns(body), *_LOST.unpack_from(body))
    if kind == RECORD_MMAP2:
        return _mmap2(misc, body[: -sample_id.size], sample_id.time_ns(body))
    return None


def _mmap2(misc: int, fields: bytes, time_ns: int) -> Mmap2:
    pid, tid, start, length, file_offset, identity, protection, flags = _MMAP2.unpack_from(fields)
    has_build_id = bool(misc & MISC_MMAP_BUILD_ID)
    major, minor, inode, _ = (0, 0, 0, 0) if has_build_id else _INODE.unpack(identity)
    return Mmap2(
        pid=pid,
        tid=tid,
        time_ns=time_ns,
        start=start,
        length=length,
        file_offset=file_offset,
        protection=protection,
        flags=flags,
        path=_text(fields[_MMAP2.size :]),
        build_id=identity[4 : 4 + min(identity[0], 20)] if has_build_id else b"",
        major=major,
        minor=minor,
        inode=inode,
    )


def _text(field: bytes) -> str:
    """Return a NUL-terminated field; bytes that are not UTF-8 become surrogate escapes."""
    return field.split(b"\0", 1)[0].decode(errors="surrogateescape")
