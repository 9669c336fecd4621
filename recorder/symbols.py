"""What makes a recording's addresses readable off the host: names, collected after the capture, once per function.

Reads the recording itself (so `offwake recover` can do the same for a killed one): the addresses of every distinct call
chain, and every mapping that was ever seen. Kernel addresses are named from /proc/kallsyms, user addresses from the
mapped files' own symbol tables, code that a JIT made from its /tmp/perf-PID.map.
"""

import os
import stat
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from offwake.format.records import RECORD_SAMPLE, SAMPLE_CALLCHAIN, SAMPLE_TID, Mmap2, sideband_records
from offwake.recorder.elf import ElfError, ElfImage

__all__ = ["FileKeeper", "collect_symbols"]

KERNEL = 0xFFFF_8000_0000_0000  # x86-64 and arm64; what lies between is no address, but a frame walked into garbage
CONTEXTS = (1 << 64) - 4096  # perf's context marks are the highest addresses
CHAINS_REMEMBERED = 200_000
FILES_KEPT_OPEN = 512
FUNCTIONS_PER_BLOCK = 4096
SYMBOL_FILE_AT_MOST = 1 << 30
PERF_MAP_AT_MOST = 256 << 20
RECORD = struct.Struct("<IHH")

File = tuple[str, bytes]  # path, identity (see Mmap2.identity)


class FileKeeper:
    """Mapped files, opened while they can still be reached: a program may be gone or replaced a moment later."""

    def __init__(self) -> None:
        self._open: dict[File, Any] = {}

    def keep(self, record: Mmap2) -> None:
        """Open the file that a process has just mapped, through that process's own root."""
        key = (record.path, record.identity)
        if key in self._open or not record.path.startswith("/") or len(self._open) >= FILES_KEPT_OPEN:
            return
        for root in (f"/proc/{record.pid}/root", ""):
            opened = _open(root + record.path, record.identity)
            if opened:
                self._open[key] = opened
                return

    def read(self, file: File, pids: list[int]) -> bytes | None:
        """Return a mapped file's bytes, if it can still be had; `pids` are processes that map it."""
        path, identity = file
        if path == "[vdso]":
            return _own_vdso()
        kept = self._open.get(file)
        roots = (*(f"/proc/{pid}/root" for pid in pids[:8]), "") if path.startswith("/") and not kept else ()
        opened = kept or next(
            filter(None, (_open(root + path.removesuffix(" (deleted)"), identity) for root in roots)), None
        )
        if opened is None:
            return None
        try:
            opened.seek(0)
            return bytes(opened.read(SYMBOL_FILE_AT_MOST))
        except OSError:  # a network file system that has lost it
            return None
        finally:
            if opened is not kept:
                opened.close()

    def close(self) -> None:
        """Close all files."""
        for opened in self._open.values():
            opened.close()
        self._open.clear()


def _open(path: str, identity: bytes) -> BinaryIO | None:
    """Open a file that anybody may have put there: a regular one, and the one that was mapped, or None.

    It is the same one by its inode; file systems with subvolumes and overlays show another device in a mapping than in
    stat. b"" as identity stands for any. Opening never waits for the writer of a FIFO.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    facts = os.fstat(fd)
    inode = identity.rpartition(b":")[2]
    if not stat.S_ISREG(facts.st_mode) or (inode.isdigit() and int(inode) != facts.st_ino):
        os.close(fd)
        return None
    return os.fdopen(fd, "rb")


@dataclass
class _Seen:
    """What the recording holds that is to be named."""

    addresses: set[int] = field(default_factory=set)
    mappings: dict[File, set[tuple[int, int, int, int]]] = field(default_factory=dict)  # start, end, file offset, pid


def collect_symbols(reader: TraceReader, keeper: FileKeeper) -> Iterator[dict[str, Any]]:
    """Name every address of a recording; returns the payloads of its SYMBOLS blocks, none of them large.

    What stands in all of them together under `kernel`, `files` and `jit` are the recording's symbols.
    """
    seen = _read(reader)
    ordered = sorted(seen.addresses)
    split = bisect_left(ordered, KERNEL)
    user, kernel = ordered[:split], ordered[split:]
    named: list[tuple[str, list[Any], list[list[Any]]]] = [("kernel", [], _kernel_functions(kernel))]
    for file, mappings in seen.mappings.items():
        if file[0].startswith("//anon"):
            named += [("jit", [pid], functions) for pid, functions in _jit_functions(mappings, user)]
        elif offsets := _file_offsets(mappings, user):
            data = keeper.read(file, [pid for *_, pid in mappings])
            named.append(("files", [*file], _elf_functions(file, data, offsets) if data else []))
    return _payloads(named)


def _payloads(named: list[tuple[str, list[Any], list[list[Any]]]]) -> Iterator[dict[str, Any]]:
    """Pack functions (what they belong to, its key, the functions) into payloads of bounded size."""
    payload: dict[str, Any] = {"kernel": [], "files": [], "jit": []}
    room = FUNCTIONS_PER_BLOCK
    for what, key, functions in named:
        while functions or what == "files":
            part, functions = functions[:room], functions[room:]
            payload[what] += [[*key, part]] if key else part
            room -= len(part)
            if room:
                break
            yield payload
            payload, room = {"kernel": [], "files": [], "jit": []}, FUNCTIONS_PER_BLOCK
    yield payload


def _read(reader: TraceReader) -> _Seen:
    seen, chains, chain_types, sideband_type = _Seen(), set[bytes](), {}, 0
    for block in reader.blocks:
        if block.kind == Kind.KEYFRAME and (keyframe := reader.values(block)):
            for event in keyframe["events"]:
                if event["name"] == "side-band":
                    sideband_type = event["sample_type"]
                elif event["sample_type"] & SAMPLE_CALLCHAIN:
                    chain_types[event["id"]] = event["sample_type"]
            for pid, start, end, offset, index in keyframe["mappings"]:
                _note(seen, keyframe["files"][index], (start, end, offset, pid))
        elif block.kind == Kind.SIDEBAND and (span := reader.payload(block)):
            for record in sideband_records(span, sideband_type):
                if isinstance(record, Mmap2):
                    row = (record.start, record.start + record.length, record.file_offset, record.pid)
                    _note(seen, (record.path, record.identity), row)
        elif block.kind == Kind.EVENTS and (span := reader.payload(block)):
            for chain in _chains(span, chain_types):
                if chain not in chains:
                    if len(chains) >= CHAINS_REMEMBERED:
                        chains.clear()
                    chains.add(chain)
                    seen.addresses.update(struct.unpack(f"<{len(chain) // 8}Q", chain))
    # Of a return address the call before it is named, which may be the last instruction of the function before.
    seen.addresses = {at for address in seen.addresses if 0 < address < CONTEXTS for at in (address - 1, address)}
    return seen


def _note(seen: _Seen, file: Any, row: tuple[int, int, int, int]) -> None:
    seen.mappings.setdefault((file[0], bytes(file[1])), set()).add(row)


def _chains(span: bytes, chain_types: dict[int, int]) -> Iterator[bytes]:
    """Yield the call chains of a span, as bytes."""
    at, end = 0, len(span) - 8
    unpack, word = RECORD.unpack_from, struct.Struct("<Q").unpack_from
    while at <= end:
        kind, _, length = unpack(span, at)
        if kind == RECORD_SAMPLE and 40 <= length <= len(span) - at:
            sample_type = chain_types.get(word(span, at + 8)[0])
            if sample_type is not None:
                chain = at + (32 if sample_type & SAMPLE_TID else 24)
                stop = chain + 8 + 8 * word(span, chain)[0]
                if stop <= at + length:
                    yield span[chain + 8 : stop]
        if length < 8:
            return
        at += length


def _file_offsets(mappings: set[tuple[int, int, int, int]], addresses: list[int]) -> set[int]:
    """Translate the addresses that lie in a file's mappings into offsets in the file."""
    found: set[int] = set()
    for start, end, offset, _ in mappings:
        for address in addresses[bisect_left(addresses, start) : bisect_left(addresses, end)]:
            found.add(address - start + offset)
    return found


def _elf_functions(file: File, data: bytes, offsets: set[int]) -> list[list[Any]]:
    """Return [start as file offset, size, name] of the functions that the file offsets lie in."""
    try:
        image = ElfImage(data)
        functions = {}
        for offset in offsets:
            address = image.address(offset)
            function = image.function_at(address) if address is not None else None
            if function:
                functions[function.address] = function
        rows = [[image.file_offset(f.address), f.size, f.name] for _, f in sorted(functions.items())]
        return [row for row in rows if row[0] is not None]
    except ElfError:
        return []


def _kernel_functions(addresses: list[int]) -> list[list[Any]]:
    """Return [start, size, name, module] of the kernel functions that the addresses lie in."""
    if not addresses:
        return []
    symbols: list[tuple[int, str, str]] = []
    with open("/proc/kallsyms") as file:
        for line in file:
            parts = line.split()
            if parts[1] in "tTwW":
                symbols.append((int(parts[0], 16), parts[2], parts[3].strip("[]") if len(parts) > 3 else ""))
    symbols.sort()
    starts = [symbol[0] for symbol in symbols]
    found: dict[int, list[Any]] = {}
    for address in addresses:
        index = bisect_right(starts, address) - 1
        if index < 0 or not starts[index]:  # all zero: kptr_restrict hides them
            continue
        start = starts[index]
        following = bisect_right(starts, start)
        size = starts[following] - start if following < len(starts) else 4096
        _, name, module = symbols[bisect_left(starts, start)]
        found[start] = [start, size, name, module]
    return list(found.values())


def _jit_functions(mappings: set[tuple[int, int, int, int]], addresses: list[int]) -> list[list[Any]]:
    """Return [pid, [[start, size, name]…]] for the processes that wrote a perf map and have addresses in it."""
    rows = []
    for pid in sorted({pid for *_, pid in mappings}):
        ranges = [(start, end) for start, end, _, owner in mappings if owner == pid]
        inside = [
            a for start, end in ranges for a in addresses[bisect_left(addresses, start) : bisect_left(addresses, end)]
        ]
        functions = _perf_map(pid) if inside else []
        starts = [function[0] for function in functions]
        hit = {bisect_right(starts, address) - 1 for address in inside} - {-1}
        if hit:
            rows.append([pid, [list(functions[index]) for index in sorted(hit)]])
    return rows


def _perf_map(pid: int) -> list[tuple[int, int, str]]:
    """Read /tmp/perf-PID.map: lines of start, size (hexadecimal) and name, later ones replacing earlier ones."""
    inside = pid
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                inside = int(line.split()[-1])
    except OSError:
        pass
    for path in (f"/proc/{pid}/root/tmp/perf-{inside}.map", f"/tmp/perf-{pid}.map"):
        opened = _open(path, b"")
        if opened is None:
            continue
        with opened:
            text = opened.read(PERF_MAP_AT_MOST).decode(errors="replace")
        lines = [line.split(" ", 2) for line in text.splitlines()]
        functions: dict[int, tuple[int, int, str]] = {}
        for parts in lines:
            try:
                functions[int(parts[0], 16)] = (int(parts[0], 16), int(parts[1], 16), parts[2])
            except (ValueError, IndexError):
                continue
        return sorted(functions.values())
    return []


def _own_vdso() -> bytes | None:
    """Return the vDSO's image: the kernel maps the same one into every process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("[vdso]"):
            start, _, end = line.split()[0].partition("-")
            with open("/proc/self/mem", "rb") as memory:
                memory.seek(int(start, 16))
                return memory.read(int(end, 16) - int(start, 16))
    return None
