"""Functions of an ELF image, by the addresses that lie in them: of hundreds of thousands a recording meets some dozens.

So symbol tables are gone through once, in pieces, for all addresses together. Between an address and the one before it only
the last symbol counts; nothing else is kept of them, and only names of what was found are read.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from offwake.recorder.binaries.elf import (
    NAME_BITS,
    SHF_EXECINSTR,
    SHT_DYNSYM,
    SHT_SYMTAB,
    SYMBOLS_AT_ONCE,
    ElfImage,
)
from offwake.recorder.binaries.octets import Octets

__all__ = ["NAME_AT_MOST", "Function", "functions_at"]

NAME_AT_MOST = 1 << 16
COMPARED_AT_MOST, COMPARED_BYTES = 64, 1 << 12  # names of one address, and of each
NOTYPE, FUNC, IFUNC = 0, 2, 10
PLACES = SYMBOLS_AT_ONCE
"""A symbol's address times this, and its place in a piece of its table, the first last: symbols in order, as numbers."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function: its virtual address in the file, its size (0 when the file does not say) and its name."""

    address: int
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class _Symbol:
    address: int
    size: int
    octets: Octets
    name_at: int

    @property
    def is_named(self) -> bool:
        return self.octets.read(self.name_at, 1) not in (b"", b"\0", b".", b"$")

    def name(self, at_most: int = NAME_AT_MOST) -> str:
        return self.octets.text(self.name_at, at_most).decode(errors="replace")

    def preference(self) -> tuple[bool, int, int, str]:
        """Of several names of one address take one with a size, without underscores in front, short."""
        name = self.name(COMPARED_BYTES)
        return not self.size, len(name) - len(name.lstrip("_")), len(name), name


def functions_at(image: ElfImage, addresses: list[int]) -> Iterator[Function | None]:
    """Yield for each of these virtual addresses (in order, none twice) the function that it lies in.

    Those of debug data and of separate debug files are among them. Raises ElfError.
    """
    nearest: list[_Symbol | None] = [None] * len(addresses)
    with image.with_debug_images() as images:
        for each in images if addresses else ():
            executable = {index for index, section in enumerate(each.sections) if section.flags & SHF_EXECINSTR}
            for words, names in each.symbols(SHT_SYMTAB, SHT_DYNSYM):
                _Piece(words, names, each.octets, executable).improve(nearest, addresses)
        symbol, function = None, None
        for address, found in zip(addresses, nearest, strict=True):
            if found:
                symbol, function = found, Function(found.address, found.size, found.name())
            yield function if symbol and (not symbol.size or address < symbol.address + symbol.size) else None


class _Piece:
    """A piece of a symbol table."""

    def __init__(self, words: "array[int]", names: int, octets: Octets, executable: set[int]) -> None:
        self._words, self._names, self._octets = words, names, octets
        self._order = sorted(
            address * PLACES + PLACES - 1 - place
            for place, (head, address) in enumerate(zip(words[::3], words[1::3], strict=True))
            if head >> 48 and ((kind := head >> 32 & 15) in (FUNC, IFUNC) or (kind == NOTYPE and head >> 48 in executable))
        )

    def improve(self, nearest: list[_Symbol | None], addresses: list[int]) -> None:
        """Put symbols of this piece where they are nearer to an address, or called better, than what is known."""
        end = bisect_left(self._order, (addresses[-1] + 1) * PLACES)
        while end:
            number = bisect_left(addresses, self._order[end - 1] // PLACES)
            begin = bisect_left(self._order, (addresses[number - 1] + 1) * PLACES, 0, end) if number else 0
            nearest[number] = self._last(begin, end, nearest[number])
            end = begin

    def _last(self, begin: int, end: int, best: _Symbol | None) -> _Symbol | None:
        """Return the last symbol that has a name, of these or the best that is known."""
        compared = 0
        for index in range(end - 1, begin - 1, -1):
            address, back = divmod(self._order[index], PLACES)
            if best and (address < best.address or compared == COMPARED_AT_MOST):
                break
            head, _, size = self._words[3 * (PLACES - 1 - back) : 3 * (PLACES - back)]
            symbol = _Symbol(address, size, self._octets, self._names + (head & NAME_BITS))
            if not symbol.is_named:
                continue
            compared += 1
            if best is None or address > best.address or symbol.preference() < best.preference():
                best = symbol
        return best
