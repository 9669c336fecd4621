"""What makes a recording readable off the host, collected after the capture, for nothing but what it holds.

Names: kernel addresses from /proc/kallsyms, user addresses from the mapped files' own symbol tables, code that a JIT made
from its /tmp/perf-PID.map. Unwind tables: of the functions that a user stack has addresses of. All of it is had from the
recording itself, so `offwake recover` can do the same for a killed one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

from offwake.format.layout import Kind
from offwake.format.stacks import ROW
from offwake.format.writer import Block, TraceWriter
from offwake.recorder.addresses import Addresses
from offwake.recorder.elf import ElfError, ElfImage, Function
from offwake.recorder.files import KALLSYMS, FileKeeper, Row, open_safely
from offwake.recorder.namespaces import ns_pid
from offwake.recorder.unwind_tables import entries_of, unwind_rows

__all__ = ["add_symbols"]

BYTES_PER_BLOCK = 512 << 10
LAST_BYTES = 256 << 10  # of a bounded file: room for one block more, the index and the footer
FUNCTION_BYTES = 32  # beside its name
NAME_AT_MOST = 1 << 16
ROWS_PER_BLOCK = 16384
ADDRESSES = (1 << 64) - 1
PERF_MAP_AT_MOST, PERF_MAP_LINE_AT_MOST = 256 << 20, 1 << 16


def add_symbols(
    addresses: Addresses, writer: TraceWriter, keeper: FileKeeper, max_bytes: int | None = None
) -> bool:
    """Write the SYMBOLS and UNWIND blocks of a recording that holds these addresses, none of them large.

    A file of `max_bytes` takes what finds room; returns whether that was all.
    """
    bounded = _Bounded(writer, max_bytes)
    named: list[tuple[str, list[Any], list[list[Any]]]] = [("kernel", [], _kernel_functions(addresses.kernel, keeper))]
    for file, mappings in addresses.mappings.items():
        if file[0].startswith("//anon"):
            named += [("jit", [pid], functions) for pid, functions in _jit_functions(mappings, addresses)]
        elif offsets := addresses.file_offsets(file):
            data = keeper.read(file, mappings)
            functions, build_id, rows = _read_elf(data, offsets, addresses.of_user_stacks) if data else ([], b"", b"")
            named.append(("files", [*file], functions))
            size = ROWS_PER_BLOCK * ROW.size
            for at in range(0, len(rows), size):
                bounded.write(Kind.UNWIND, {"files": [[*file, build_id, rows[at : at + size]]]})
    for payload in _payloads(named):
        bounded.write(Kind.SYMBOLS, payload)
    return bounded.wrote_all


class _Bounded:
    """Writes blocks while there is room in the file, and notes whether one found none."""

    def __init__(self, writer: TraceWriter, max_bytes: int | None) -> None:
        self.wrote_all = True
        self._writer, self._max_bytes = writer, max_bytes

    def write(self, kind: Kind, value: dict[str, Any]) -> None:
        if self._max_bytes is None or self._writer.bytes_written < self._max_bytes - LAST_BYTES:
            self._writer.write_values(Block(kind), value)
        else:
            self.wrote_all = False


def _payloads(named: list[tuple[str, list[Any], list[list[Any]]]]) -> Iterator[dict[str, Any]]:
    """Pack functions (what they belong to, its key, the functions) into payloads of bounded size."""
    payload: dict[str, Any] = {"kernel": [], "files": [], "jit": []}
    room = BYTES_PER_BLOCK
    for what, key, functions in named:
        while functions or what == "files":
            size, count = 0, 0
            while count < len(functions) and size < room:
                functions[count][2] = functions[count][2][:NAME_AT_MOST]
                size += FUNCTION_BYTES + len(functions[count][2].encode(errors="surrogateescape"))
                count += 1
            part, functions = functions[:count], functions[count:]
            payload[what] += [[*key, part]] if key else part
            room -= size
            if not functions:
                break
            yield payload
            payload, room = {"kernel": [], "files": [], "jit": []}, BYTES_PER_BLOCK
    yield payload


def _read_elf(data: bytes, offsets: set[int], tables: bool) -> tuple[list[list[Any]], bytes, bytes]:
    """Read of a file what these file offsets need.

    Returns [start as file offset, size, name] of the functions that they lie in, the build-id, and, if asked for, rows for
    unwinding. A function that only call frame information tells of, as in a stripped program, has "" for a name.
    """
    try:
        image = ElfImage(data)
        addresses = sorted(address for offset in offsets if (address := image.address(offset)) is not None)
        functions = {function.address: function for at in addresses if (function := image.function_at(at))}
        entries = entries_of(image, addresses)
        for entry in entries:
            if image.function_at(entry.begin) is None:
                functions.setdefault(entry.begin, Function(entry.begin, entry.end - entry.begin, ""))
        rows = [[image.file_offset(f.address), min(f.size, ADDRESSES), f.name] for _, f in sorted(functions.items())]
        table = unwind_rows(image, entries) if tables else b""
        return [row for row in rows if row[0] is not None], image.build_id, table
    except ElfError:
        return [], b"", b""


def _kernel_functions(addresses: list[int], keeper: FileKeeper) -> list[list[Any]]:
    """Return [start, size, name, module] of the kernel functions that the addresses lie in."""
    if not addresses:
        return []
    symbols: list[tuple[int, str, str]] = []
    for line in keeper.kernel(KALLSYMS):
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


def _jit_functions(mappings: set[Row], addresses: Addresses) -> list[list[Any]]:
    """Return [pid, [[start, size, name]…]] for the processes that wrote a perf map and have addresses in it."""
    rows = []
    for pid in sorted({pid for *_, pid in mappings}):
        ranges = [(start, end) for start, end, _, owner in mappings if owner == pid]
        inside = [address for start, end in ranges for address in addresses.within(start, end)]
        functions = _perf_map(pid, sorted(set(inside))) if inside else []
        starts = [function[0] for function in functions]
        hit = {bisect_right(starts, address) - 1 for address in inside} - {-1}
        if hit:
            rows.append([pid, [list(functions[index]) for index in sorted(hit)]])
    return rows


def _perf_map(pid: int, addresses: list[int]) -> list[tuple[int, int, str]]:
    """Read /tmp/perf-PID.map: lines of start, size (hexadecimal) and name, later ones replacing earlier ones.

    Only what any of the addresses (in order) lies in is kept: the file is anybody's, and can be large.
    """
    for path in (f"/proc/{pid}/root/tmp/perf-{ns_pid(pid) or pid}.map", f"/tmp/perf-{pid}.map"):
        opened = open_safely(path, b"")
        if opened is None:
            continue
        functions: dict[int, tuple[int, int, str]] = {}
        room = PERF_MAP_AT_MOST
        with opened:
            while room > 0 and (octets := opened.readline(PERF_MAP_LINE_AT_MOST)):
                room -= len(octets)
                parts = octets.decode(errors="replace").rstrip("\n").split(" ", 2)
                try:
                    start, size, name = int(parts[0], 16), int(parts[1], 16), parts[2]
                except (ValueError, IndexError):
                    continue
                if not 0 <= start <= start + size <= ADDRESSES:
                    continue
                index = bisect_left(addresses, start)
                if index < len(addresses) and addresses[index] < start + size:
                    functions[start] = (start, size, name)
                elif start in functions:
                    del functions[start]
        return sorted(functions.values())
    return []
