"""Names of functions that a program has compiled while it runs, from the /tmp/perf-PID.map that it writes.

A line of it is a start, a size (hexadecimal) and a name. Code is freed and its place used again: of the lines that an
address lies in the last one is true. The file is anybody's, and can be large: the addresses bound what is kept of it.
"""

import os
from bisect import bisect_left
from itertools import groupby
from typing import Any, BinaryIO

from offwake.recorder.binaries.octets import open_safely
from offwake.recorder.host.namespaces import ns_pid

__all__ = ["functions_in_perf_map"]

Line = tuple[int, int, str]
"""Start, size and name of a function."""
ADDRESSES = (1 << 64) - 1
FILE_AT_MOST, LINE_AT_MOST = 256 << 20, 1 << 16


def functions_in_perf_map(pid: int, addresses: list[int]) -> list[list[Any]]:
    """Return [start, size, name] of the functions that addresses (in order) lie in; none overlaps another.

    The file has to be root's or the process's own, as for perf.
    """
    for path in (f"/proc/{pid}/root/tmp/perf-{ns_pid(pid) or pid}.map", f"/tmp/perf-{pid}.map"):
        opened = open_safely(path, b"")
        if opened is None:
            continue
        with opened:
            written_by = os.fstat(opened.fileno()).st_uid
            if written_by not in (0, _user_of(pid, written_by)):
                continue
            return _cut_to(addresses, _last_lines(opened, addresses))
    return []


def _last_lines(opened: BinaryIO, addresses: list[int]) -> list[Line | None]:
    """Return for each address the last line that it lies in."""
    found: list[Line | None] = [None] * len(addresses)
    room = FILE_AT_MOST
    while room > 0 and (octets := opened.readline(LINE_AT_MOST)):
        parts = octets.decode(errors="replace").rstrip("\n").split(" ", 2)
        room -= len(octets)
        try:
            start, size, name = int(parts[0], 16), int(parts[1], 16), parts[2]
        except (ValueError, IndexError):
            continue
        if 0 <= start <= start + size <= ADDRESSES:
            first, last = bisect_left(addresses, start), bisect_left(addresses, start + size)
            found[first:last] = [(start, size, name)] * (last - first)
            room -= last - first
    return found


def _cut_to(addresses: list[int], functions: list[Line | None]) -> list[list[Any]]:
    """Return the functions, each cut to where its addresses lie between those of others."""
    rows: list[list[Any]] = []
    for function, run in groupby(zip(addresses, functions, strict=True), key=lambda pair: pair[1]):
        first = next(run)[0]
        if rows:
            rows[-1][1] = min(rows[-1][1], first - rows[-1][0])
        if function:
            start, size, name = function
            begin = max(start, sum(rows[-1][:2])) if rows else start
            rows.append([begin, start + size - begin, name])
    return rows


def _user_of(pid: int, otherwise: int) -> int:
    """Return whose process it is, or `otherwise` when it is gone."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return otherwise
