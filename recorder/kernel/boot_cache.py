"""What takes long to make and stays the same until the next boot, kept for the next recording.

It lies in /run/offwake, which only root can write and which is gone with the next boot. What is not just as it was kept, or
could have been written by anybody else, is made anew.
"""

import hashlib
import os
import platform
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from offwake import __version__

__all__ = ["kept"]

CACHE = Path("/run/offwake")
CACHED_AT_MOST = 32
RESULT_AT_MOST, DIGEST_BYTES = 8 << 20, 32


def kept(what: str, make: Callable[[], bytes]) -> bytes:
    """Return what was made before of the same `what`, on this kernel and by this version; else make it, and keep it."""
    known_by = "\0".join((__version__, platform.release(), platform.version(), what))
    name = hashlib.sha256(known_by.encode()).hexdigest()[:32]
    found = _cached(name)
    if found is None:
        found = make()
        _keep(name, found)
    return found


def _cached(name: str) -> bytes | None:
    try:
        folder = os.open(CACHE, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not _is_ours_alone(os.fstat(folder)):
            return None
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
            if not _is_ours_alone(os.fstat(file.fileno())):
                return None
            checked = file.read(RESULT_AT_MOST)
            found = checked[DIGEST_BYTES:]
            return found if hashlib.sha256(found).digest() == checked[:DIGEST_BYTES] else None
    except OSError:
        return None
    finally:
        os.close(folder)


def _keep(name: str, made: bytes) -> None:
    """Keep what was made. That it cannot be kept is no reason to record nothing."""
    with suppress(OSError):
        CACHE.mkdir(mode=0o700, exist_ok=True)
        if not _is_ours_alone(os.lstat(CACHE)):
            return
        oldest_first = sorted(CACHE.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in oldest_first[: max(len(oldest_first) + 1 - CACHED_AT_MOST, 0)]:
            path.unlink()
        fresh = CACHE / f"{name}.{os.getpid()}"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(hashlib.sha256(made).digest() + made)
        fresh.rename(CACHE / name)


def _is_ours_alone(status: os.stat_result) -> bool:
    return status.st_uid == 0 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
