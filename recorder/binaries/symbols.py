"""What makes a recording readable off the host, collected after the capture, for nothing but what it holds.

Names: kernel addresses from /proc/kallsyms, user addresses from the mapped files' own symbol tables, code that a JIT made
from its /tmp/perf-PID.map. Unwind tables: of the functions that a user stack has addresses of. All of it is had from the
recording itself, so `offwake recover` can do the same for a killed one.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from offwake.format.layout import Kind
from offwake.format.stacks import ROW
from offwake.format.writer import Block, TraceWriter
from offwake.recorder.binaries.addresses import Addresses
from offwake.recorder.binaries.elf import ElfError, ElfImage
from offwake.recorder.binaries.files import KALLSYMS, FileKeeper, Row
from offwake.recorder.binaries.functions import NAME_AT_MOST, Function, functions_at
from offwake.recorder.binaries.perf_map import functions_in_perf_map
from offwake.recorder.binaries.unwind_tables import entries_of, unwind_rows

__all__ = ["add_symbols"]

BYTES_PER_BLOCK = 512 << 10
LAST_BYTES = 256 << 10  # of a bounded file: room for one block more, the index and the footer
FUNCTION_BYTES = 32  # beside its name
LAST_SIZE = 4096  # of the kernel's last function, which nothing follows
ROWS_PER_BLOCK = 16384
ADDRESSES = (1 << 64) - 1


def add_symbols(
    addresses: Addresses, writer: TraceWriter, keeper: FileKeeper, max_bytes: int | None = None
) -> bool:
    """Write the SYMBOLS and UNWIND blocks of a recording that holds these addresses, none of them large.

    A file of `max_bytes` takes what finds room; returns whether that was all.
    """
    bounded = _Bounded(writer, max_bytes)
    names = _Names(bounded)
    names.add("kernel", [], _kernel_functions(addresses.kernel, keeper))
    for file, mappings in addresses.mappings.items():
        if file[0].startswith("//anon"):
            for pid, functions in _jit_functions(mappings, addresses):
                names.add("jit", [pid], functions)
        elif offsets := addresses.file_offsets(file):
            with suppress(ElfError):
                if image := keeper.image(file, mappings):
                    found = _Found(image, offsets)
                    names.add("files", [*file], found.functions())
                    for rows in found.unwind_tables() if addresses.of_user_stacks else ():
                        bounded.write(Kind.UNWIND, {"files": [[*file, image.build_id, rows]]})
    names.write()
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


class _Names:
    """Packs functions into SYMBOLS blocks of bounded size, and writes each when it is full."""

    def __init__(self, bounded: _Bounded) -> None:
        self._bounded = bounded
        self._begin()

    def _begin(self) -> None:
        self._payload: dict[str, list[Any]] = {"kernel": [], "files": [], "jit": []}
        self._room = BYTES_PER_BLOCK

    def add(self, what: str, key: list[Any], functions: Iterable[list[Any]]) -> None:
        """Take functions, [start, size, name, …], of the kernel or of what this is the key of."""
        part = self._part(what, key)
        for function in functions:
            if self._room <= 0:
                self.write()
                part = self._part(what, key)
            function[2] = function[2][:NAME_AT_MOST]
            self._room -= FUNCTION_BYTES + len(function[2].encode(errors="surrogateescape"))
            part.append(function)

    def _part(self, what: str, key: list[Any]) -> list[Any]:
        part: list[Any] = []
        if not key:
            return self._payload[what]
        self._payload[what].append([*key, part])
        return part

    def write(self) -> None:
        """Write what has been taken since the last time."""
        self._bounded.write(Kind.SYMBOLS, self._payload)
        self._begin()


class _Found:
    """What file offsets need of an image."""

    def __init__(self, image: ElfImage, offsets: set[int]) -> None:
        self._image = image
        self._addresses = sorted(address for offset in offsets if (address := image.address(offset)) is not None)
        self._entries = entries_of(image, self._addresses)

    def functions(self) -> Iterator[list[Any]]:
        """Yield [start as file offset, size, name] of the functions that they lie in, in order.

        A function that only call frame information tells of, as in a stripped program, has "" for a name.
        """
        asked, ends = set(self._addresses), {entry.begin: entry.end for entry in self._entries}
        wanted, last = sorted(asked.union(ends)), -1
        for address, function in zip(wanted, functions_at(self._image, wanted), strict=True):
            if function is None and address in ends:
                function = Function(address, ends[address] - address, "")
            elif function is None or address not in asked or function.address == last:
                continue
            last = function.address
            start = self._image.file_offset(last)
            if start is not None:
                yield [start, min(function.size, ADDRESSES), function.name]

    def unwind_tables(self) -> Iterator[bytes]:
        """Yield their rows for unwinding, so many at once as a block holds."""
        rows, size = unwind_rows(self._image, self._entries), ROWS_PER_BLOCK * ROW.size
        for at in range(0, len(rows), size):
            yield rows[at : at + size]


def _kernel_functions(addresses: list[int], keeper: FileKeeper) -> list[list[Any]]:
    """Return [start, size, name, module] of the kernel functions that the addresses lie in.

    /proc/kallsyms is gone through once: of the symbols between an address and the one before it only the last counts, by its
    first name, and as the end of what is before, the first.
    """
    first: list[int] = [ADDRESSES] * (len(addresses) + 1)
    last: list[tuple[int, str, str] | None] = [None] * len(addresses)
    symbol: tuple[int, str, str] | None
    for line in keeper.kernel(KALLSYMS) if addresses else ():
        parts = line.split()
        if parts[1] in "tTwW":
            start = int(parts[0], 16)
            gap = bisect_left(addresses, start)
            first[gap] = min(first[gap], start)
            if gap < len(addresses):
                symbol = (-start, parts[2], parts[3].strip("[]") if len(parts) > 3 else "")
                last[gap] = min(last[gap] or symbol, symbol)
    found: list[list[Any]] = []
    for gap in reversed(range(len(addresses))):
        if (symbol := last[gap]) and symbol[0]:  # all zero: kptr_restrict hides them
            start, end = -symbol[0], first[gap + 1]
            found.append([start, end - start if end < ADDRESSES else LAST_SIZE, *symbol[1:]])
        first[gap] = min(first[gap], first[gap + 1])
    return found


def _jit_functions(mappings: set[Row], addresses: Addresses) -> list[list[Any]]:
    """Return [pid, [[start, size, name]…]] for the processes that wrote a perf map and have addresses in it."""
    rows = []
    for pid in sorted({pid for *_, pid in mappings}):
        ranges = [(start, end) for start, end, _, owner in mappings if owner == pid]
        inside = sorted({address for start, end in ranges for address in addresses.within(start, end)})
        if inside and (functions := functions_in_perf_map(pid, inside)):
            rows.append([pid, functions])
    return rows
