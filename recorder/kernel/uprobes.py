"""Probes in user programs: a BPF program that runs where a function begins, or returns, in every process that maps its file.

One link carries all functions of a file where the kernel has such links (uprobe_multi, since Linux 6.6); elsewhere each has
a perf event of its own. That event is nobody else's: what the program returns hides nothing from other users of perf.
Layouts and numbers: union bpf_attr in include/uapi/linux/bpf.h, include/uapi/linux/perf_event.h.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

from offwake.recorder.kernel.bpf_module import KPROBE, LINK_CREATE, Module, bpf, load_code
from offwake.recorder.kernel.perf_event import open_probe

__all__ = ["KPROBES", "Site", "attach_sites", "has_kprobes", "has_links", "has_uprobes", "probe_type"]

UPROBES, KPROBES = (Path(f"/sys/bus/event_source/devices/{name}/type") for name in ("uprobe", "kprobe"))
PERF_EVENT, UPROBE_MULTI = 41, 48  # enum bpf_attach_type
AT_RETURN = 1  # BPF_F_UPROBE_MULTI_RETURN
RETURN_NOTHING = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)  # r0 = 0; exit


@dataclass(frozen=True)
class Site:
    """A place at which the program `function` of a source runs: at an offset in a file, where a function begins, or
    `at_return` where it returns; in no file, at the kernel's function called `symbol`. The program can ask for the `cookie`.
    """

    file: BinaryIO | None
    offset: int
    function: str
    at_return: bool = False
    cookie: int = 0
    symbol: str = ""


def has_uprobes() -> bool:
    """Tell whether this kernel has uprobes (CONFIG_UPROBE_EVENTS)."""
    return UPROBES.exists()


def has_kprobes() -> bool:
    """Tell whether this kernel has kprobes (CONFIG_KPROBE_EVENTS)."""
    return KPROBES.exists()


def probe_type(in_kernel: bool = False) -> tuple[int, int]:
    """Return the type of a program that runs at probes, and how it will be attached."""
    return KPROBE, UPROBE_MULTI if has_links() and not in_kernel else 0


def attach_sites(module: Module, sites: Iterable[Site]) -> list[int]:
    """Run loaded programs at their sites until the descriptors that are returned are closed. Raises OSError."""
    by_program: dict[tuple[BinaryIO | None, str, bool], list[Site]] = {}
    for site in sites:
        by_program.setdefault((site.file, site.function, site.at_return), []).append(site)
    opened: list[int] = []
    try:
        for (file, function, at_return), some in by_program.items():
            program = module.load(function, *probe_type(in_kernel=file is None))
            if file and has_links():
                opened.append(_link(program, _path(file), some, at_return))
            else:
                for site in some:
                    opened += _perf_probe(program, site)
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        raise
    return opened


@cache
def has_links() -> bool:
    """Tell whether this kernel has one link for all probes in a file.

    A program for one loads on older kernels too; but only one that has such links looks at what is to be probed, and says
    of a folder that it is no file.
    """
    with suppress(OSError):
        program = load_code(b"nothing", (KPROBE, UPROBE_MULTI), RETURN_NOTHING)
        try:
            os.close(_link(program, b"/", [Site(None, 0, "")], at_return=False))
        except OSError as error:
            return error.errno == errno.EBADF
        finally:
            os.close(program)
    return False


def _link(program: int, path: bytes, sites: list[Site], at_return: bool) -> int:
    name = ctypes.create_string_buffer(path)
    offsets = (ctypes.c_uint64 * len(sites))(*(site.offset for site in sites))
    cookies = (ctypes.c_uint64 * len(sites))(*(site.cookie for site in sites))
    places = (ctypes.addressof(part) for part in (name, offsets))
    attributes = struct.pack("<4I4Q", program, 0, UPROBE_MULTI, 0, *places, 0, ctypes.addressof(cookies))
    return bpf(LINK_CREATE, attributes + struct.pack("<4I", len(sites), AT_RETURN if at_return else 0, 0, 0))


def _path(file: BinaryIO) -> bytes:
    return f"/proc/self/fd/{file.fileno()}".encode()


def _perf_probe(program: int, site: Site) -> list[int]:
    kind, where = (UPROBES, _path(site.file)) if site.file else (KPROBES, site.symbol.encode())
    event = open_probe(int(kind.read_text()), where, site.offset, site.at_return)
    try:
        return [event, bpf(LINK_CREATE, struct.pack("<4IQ", program, event, PERF_EVENT, 0, site.cookie))]
    except OSError:  # such links came with 5.15, and the cookie with them
        os.close(event)
        raise
