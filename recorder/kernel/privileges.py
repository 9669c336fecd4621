"""What the recorder may still do once everything is attached: little, and at the end nothing.

Attaching takes nearly all of root. What follows, emptying rings, reading counters, writing into an open file and detaching,
takes no capability at all; what symbols need is the right to look at others' processes and files. Capabilities belong to a
thread: each gives up its own.
"""

import ctypes
import enum
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Capability", "act_on_files_as_owner_of", "forbid_new_privileges", "keep_only", "lowered_to"]

VERSION_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
SET_NO_NEW_PRIVS = 38  # PR_SET_NO_NEW_PRIVS


class Capability(enum.IntEnum):
    """Capabilities by their numbers in include/uapi/linux/capability.h."""

    CHOWN = 0
    DAC_READ_SEARCH = 2
    KILL = 5
    IPC_LOCK = 14
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    PERFMON = 38
    BPF = 39
    CHECKPOINT_RESTORE = 40


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("thread", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


_libc = ctypes.CDLL(None, use_errno=True)


def keep_only(kept: Iterable[Capability] = ()) -> None:
    """Give up all capabilities of the calling thread but these, for good; of these, those that it has not got as well."""
    _, permitted = _read()
    mask = _mask(kept) & permitted
    _write(mask, mask)


@contextmanager
def lowered_to(kept: Iterable[Capability]) -> Iterator[None]:
    """Do without all capabilities of the calling thread but these, for a while."""
    effective, permitted = _read()
    _write(_mask(kept) & permitted, permitted)
    try:
        yield
    finally:
        _write(effective, permitted)


def forbid_new_privileges() -> None:
    """See to it that no program that the calling thread might run gains anything by being run."""
    _libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def act_on_files_as_owner_of(folder: Path) -> None:
    """Let the calling thread create and name files as the folder's owner would, where that is another than root.

    Root without CAP_DAC_OVERRIDE may not write into a folder of somebody else. Only the ids for access to files change
    (setfsuid(2)): signals and other processes see root. The kernel takes the capabilities for files away with it;
    `keep_only` puts back those that it keeps.
    """
    owner = os.stat(folder)
    if owner.st_uid:
        _libc.setfsgid(owner.st_gid)
        _libc.setfsuid(owner.st_uid)


def _mask(capabilities: Iterable[Capability]) -> int:
    return sum(1 << capability for capability in set(capabilities))


def _read() -> tuple[int, int]:
    """Return the calling thread's effective and permitted capabilities, as bits."""
    low_and_high = (_Sets * 2)()
    _call("capget", low_and_high)
    low, high = low_and_high
    return low.effective | high.effective << 32, low.permitted | high.permitted << 32


def _write(effective: int, permitted: int) -> None:
    words = [_Sets(effective >> shift & 0xFFFFFFFF, permitted >> shift & 0xFFFFFFFF, 0) for shift in (0, 32)]
    _call("capset", (_Sets * 2)(*words))


def _call(name: str, sets: "ctypes.Array[_Sets]") -> None:
    if getattr(_libc, name)(ctypes.byref(_Header(VERSION_3, 0)), sets):
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
