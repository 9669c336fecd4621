"""Functions and tracepoints by pattern: what `count:` and `time:` are about.

`u:LIBRARY:GLOB` are functions of a program or library that runs, or lies at a path; `t:GROUP:GLOB` tracepoints; without
either the kernel's functions, where the kernel has kprobes.
"""

import re
import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from offwake.errors import CannotRecord, UsageError
from offwake.recorder.binaries.libraries import mapped_files, sites_of
from offwake.recorder.binaries.octets import open_safely
from offwake.recorder.kernel.btf import Btf
from offwake.recorder.kernel.tracefs import tracepoints_of
from offwake.recorder.kernel.uprobes import KPROBES, has_kprobes, has_links, has_uprobes

__all__ = ["Function", "kernel_functions", "tracepoints", "user_functions"]

FUNCTIONS_AT_MOST, WITHOUT_LINKS_AT_MOST = 1000, 100
"""Without one link for all of a file's probes each takes a tenth of a second to attach and to detach."""
KERNEL_TEXT = "tT"
LIBRARY = re.compile(r"[^/]+")


@dataclass(frozen=True)
class Function:
    """A function by its name, in a file at an offset; of the kernel, in no file."""

    name: str
    where: str
    file: BinaryIO | None = None
    offset: int = 0


def user_functions(library: str, glob: str) -> list[Function]:
    """Find functions by a library's path or name (`c` and `libc` are libc.so.6), in every file of that name that runs.

    Raises UsageError where there are none, or too many, CannotRecord without uprobes.
    """
    if not has_uprobes():
        raise CannotRecord(f"u:{library}:{glob}: this kernel has no uprobes (CONFIG_UPROBE_EVENTS)")
    files = list(mapped_files(lambda path: _is_called(path, library)))
    at = library if "/" in library else shutil.which(library)
    if not files and at and (opened := open_safely(str(Path(at).resolve()), b"")):
        files = [(at, opened)]
    if not files:
        raise UsageError(f"u:{library}:{glob}: nobody has such a file mapped, and it is no path; name it by its path")
    found = [
        Function(name, path, file, offset)
        for path, file in files
        for name, offset in sites_of(file, lambda name: fnmatchcase(name, glob))
    ]
    most = FUNCTIONS_AT_MOST if has_links() else WITHOUT_LINKS_AT_MOST
    if not 0 < len(found) <= most:
        for _, file in files:
            file.close()
    return _some(f"u:{library}:{glob}", found, most)


def tracepoints(group: str, glob: str) -> list[Function]:
    """Find tracepoints of a group. Raises UsageError where there are none, CannotRecord where tracefs cannot be read."""
    btf = Btf()
    names = [name for name in tracepoints_of(group) if fnmatchcase(name, glob) and btf.has_tracepoint(name)]
    return _some(f"t:{group}:{glob}", [Function(name, group) for name in names], WITHOUT_LINKS_AT_MOST)


def kernel_functions(glob: str) -> list[Function]:
    """Find functions of the kernel. Raises CannotRecord on a kernel without kprobes, UsageError where there are none."""
    if not has_kprobes():
        why = f"{glob}: this kernel has no kprobes (CONFIG_KPROBES; there is no {KPROBES.parent})"
        raise CannotRecord(f"{why}: its functions cannot be counted; u:LIBRARY:GLOB and t:GROUP:GLOB can")
    with open("/proc/kallsyms") as file:
        words = (line.split() for line in file)
        names = {name for _, kind, name, *_ in words if kind in KERNEL_TEXT and fnmatchcase(name, glob)}
    return _some(glob, [Function(name, "kernel") for name in sorted(names)], WITHOUT_LINKS_AT_MOST)


def _is_called(path: str, library: str) -> bool:
    if "/" in library:
        return path == library
    name = path.rpartition("/")[2]
    return name == library or bool(re.match(rf"(lib)?{re.escape(library)}(-[\d.]+)?\.so(\.|$)", name))


def _some(pattern: str, found: list[Function], most: int) -> list[Function]:
    if not found:
        raise UsageError(f"{pattern}: nothing fits it; a pattern is a name with * and ?")
    if len(found) > most:
        raise UsageError(f"{pattern}: {len(found):,} fit it, and at most {most:,} can be counted at once; narrow it")
    return found
