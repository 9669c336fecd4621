"""perf_event_open: the descriptors that own the rings.

The recorder opens its own perf buffers, instead of letting bcc do it, so that the kernel writes the call chain into each
record, variable in length, and so that user space can copy whole spans without a callback per event.
Layouts and numbers: include/uapi/linux/perf_event.h.
"""

import ctypes
import os
import struct
import time
from dataclasses import dataclass, replace
from fcntl import ioctl

from offwake.errors import CannotRecord
from offwake.format.records import (
    SAMPLE_CALLCHAIN,
    SAMPLE_IDENTIFIER,
    SAMPLE_RAW,
    SAMPLE_TID,
    SAMPLE_TIME,
)

__all__ = [
    "Counts",
    "EventSpec",
    "Opened",
    "counts_lost",
    "disable",
    "open_descriptor",
    "open_event",
    "open_probe",
    "opened",
    "read_counts",
    "redirect",
]

PERF_EVENT_OPEN = 298  # of x86-64; see architecture() of machine_checks.py
TYPE_SOFTWARE, TYPE_TRACEPOINT = 1, 2
COUNT_SW_DUMMY, COUNT_SW_BPF_OUTPUT = 9, 10
FORMAT_TIME_ENABLED, FORMAT_LOST = 1, 1 << 4
IOC_ENABLE, IOC_DISABLE, IOC_SET_OUTPUT, IOC_ID, IOC_SET_FILTER = 0x2400, 0x2401, 0x2405, 0x80082407, 0x40082406
CLOEXEC = 8

DISABLED, EXCLUDE_IDLE, MMAP, COMM, FREQ, TASK = 1, 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 13
WATERMARK, SAMPLE_ID_ALL, MMAP2, COMM_EXEC, USE_CLOCKID = 1 << 14, 1 << 18, 1 << 23, 1 << 24, 1 << 25
EXCLUDE_CALLCHAIN_USER = 1 << 22

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_watermark", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
        ("config2", ctypes.c_uint64),
        ("branch_sample_type", ctypes.c_uint64),
        ("sample_regs_user", ctypes.c_uint64),
        ("sample_stack_user", ctypes.c_uint32),
        ("clockid", ctypes.c_int32),
        ("sample_regs_intr", ctypes.c_uint64),
        ("aux_watermark", ctypes.c_uint32),
        ("sample_max_stack", ctypes.c_uint16),
        ("reserved", ctypes.c_uint16),
    ]


@dataclass(frozen=True)
class EventSpec:
    """What to open on each CPU: a name for the file, and the parts of perf_event_attr that differ."""

    name: str
    config: int
    sample_type: int
    flags: int = 0
    period: int = 1
    type: int = TYPE_SOFTWARE
    filter: str = ""

    @staticmethod
    def with_stack() -> "EventSpec":
        """Return the output of BPF programs to which the kernel adds the call chain."""
        sample = SAMPLE_IDENTIFIER | SAMPLE_TIME | SAMPLE_CALLCHAIN | SAMPLE_RAW
        return EventSpec("with-stack", COUNT_SW_BPF_OUTPUT, sample)

    @staticmethod
    def kernel_stack() -> "EventSpec":
        """Return the output of BPF programs to which the kernel adds its own part of the call chain."""
        return replace(EventSpec.with_stack(), name="kernel-stack", flags=EXCLUDE_CALLCHAIN_USER)

    @staticmethod
    def lessons() -> "EventSpec":
        """Return the output of BPF programs for stacks that are looked at here, see kernel_frames.py."""
        return replace(EventSpec.kernel_stack(), name="lessons")

    @staticmethod
    def without_stack() -> "EventSpec":
        """Return the output of BPF programs without a call chain."""
        return EventSpec("without-stack", COUNT_SW_BPF_OUTPUT, SAMPLE_IDENTIFIER | SAMPLE_TIME | SAMPLE_RAW)

    @staticmethod
    def sampling(name: str, software_event: int, hertz: int) -> "EventSpec":
        """Return a clock that samples what runs, and nothing on an idle CPU."""
        sample = SAMPLE_IDENTIFIER | SAMPLE_TID | SAMPLE_TIME | SAMPLE_CALLCHAIN
        return EventSpec(name, software_event, sample, FREQ | EXCLUDE_IDLE, hertz)

    @staticmethod
    def traced(name: str, number: int, with_stack: bool, kept: str) -> "EventSpec":
        """Return a tracepoint, by the number that tracefs has for it; what fits the filter `kept` is recorded."""
        sample = SAMPLE_IDENTIFIER | SAMPLE_TIME | SAMPLE_RAW | (SAMPLE_CALLCHAIN if with_stack else 0)
        return EventSpec(name, number, sample, DISABLED, type=TYPE_TRACEPOINT, filter=kept)

    @staticmethod
    def sideband() -> "EventSpec":
        """Return the records of executable mappings, names, forks and exits.

        Without build-ids in them: a kernel that writes one (attr.build_id) leaves the mark of it (MISC_MMAP_BUILD_ID) on the
        record that it writes next, which is another perf user's, whose perf then reads an inode as a build-id and aborts.
        """
        flags = MMAP | MMAP2 | COMM | COMM_EXEC | TASK
        return EventSpec("side-band", COUNT_SW_DUMMY, SAMPLE_TID | SAMPLE_TIME | SAMPLE_IDENTIFIER, flags)


@dataclass(frozen=True)
class Opened:
    """An open event of one CPU: its descriptor, and the id that its records carry."""

    spec: EventSpec
    cpu: int
    fd: int
    id: int


@dataclass(frozen=True)
class Counts:
    """How long an event has been on (it stops for good when its CPU goes offline), and how many of its records found no room
    (PERF_FORMAT_LOST; 0 where the kernel does not count). `happened` is how often it happened."""

    enabled_ns: int
    lost: int = 0
    happened: int = 0


def open_event(spec: EventSpec, cpu: int, watermark: int) -> Opened:
    """Open and enable an event on a CPU. Its ring wakes a poller at `watermark` bytes.

    Raises CannotRecord when the kernel refuses.
    """
    return opened(spec, cpu, open_descriptor(spec, cpu, watermark))


def opened(spec: EventSpec, cpu: int, fd: int) -> Opened:
    """Return the event behind a descriptor, with the id that the kernel gave it."""
    return Opened(spec, cpu, fd, struct.unpack("Q", ioctl(fd, IOC_ID, bytes(8)))[0])


def open_descriptor(spec: EventSpec, cpu: int, watermark: int) -> int:
    """Return the descriptor of an event, as `open_event` does the event."""
    attributes = _Attributes(
        type=spec.type,
        size=ctypes.sizeof(_Attributes),
        config=spec.config,
        sample_period=spec.period,
        sample_type=spec.sample_type,
        flags=spec.flags | WATERMARK | SAMPLE_ID_ALL | USE_CLOCKID,
        wakeup_watermark=watermark,
        clockid=time.CLOCK_MONOTONIC,
        read_format=FORMAT_TIME_ENABLED | FORMAT_LOST,
    )
    fd = _perf_event_open(attributes, cpu)
    if fd < 0:  # PERF_FORMAT_LOST came with 6.0: do without where an older kernel lacks it
        attributes.read_format = FORMAT_TIME_ENABLED
        fd = _perf_event_open(attributes, cpu)
    if fd < 0:
        error = ctypes.get_errno()
        raise CannotRecord(f"perf_event_open refused {spec.name!r} on CPU {cpu}: {os.strerror(error)}")
    try:
        if spec.filter:
            ioctl(fd, IOC_SET_FILTER, spec.filter.encode() + b"\0")
        ioctl(fd, IOC_ENABLE, 0)
    except (OSError, ValueError) as error:  # ValueError: it is longer than an ioctl from Python may be
        os.close(fd)
        says = f"{spec.name}: the kernel refuses {spec.filter!r} as a filter"
        raise CannotRecord(f'{says}; one is FIELD>NUMBER or FIELD=="TEXT", joined by && and ||') from error
    return fd


def open_probe(kind: int, path: bytes, offset: int, at_return: bool) -> int:
    """Return the descriptor of a probe (a uprobe, a kprobe) at an offset of a file or a function of the kernel, of all
    processes and CPUs. Raises OSError."""
    name = ctypes.create_string_buffer(path)
    attributes = _Attributes(
        type=kind, size=ctypes.sizeof(_Attributes), config=int(at_return), config1=ctypes.addressof(name), config2=offset
    )
    fd = _perf_event_open(attributes, 0)
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return fd


def disable(event: Opened) -> None:
    """Let an event happen no more; what it has counted can still be read. Raises OSError."""
    ioctl(event.fd, IOC_DISABLE, 0)


def redirect(event: Opened, into: Opened) -> None:
    """Let an event write into another one's ring on the same CPU."""
    ioctl(event.fd, IOC_SET_OUTPUT, into.fd)


def counts_lost(event: Opened) -> bool:
    """Tell whether the kernel counts the records that find no room (PERF_FORMAT_LOST, since 6.0)."""
    return len(os.read(event.fd, 24)) == 24


def read_counts(event: Opened) -> Counts:
    """Read what the kernel counts of an event."""
    happened, enabled_ns, *lost = (word for (word,) in struct.iter_unpack("Q", os.read(event.fd, 24)))
    return Counts(enabled_ns, lost[0] if lost else 0, happened)


def _perf_event_open(attributes: _Attributes, cpu: int) -> int:
    return int(_libc.syscall(PERF_EVENT_OPEN, ctypes.byref(attributes), -1, cpu, -1, CLOEXEC))
