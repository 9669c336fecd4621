"""Libraries and programs that run: the files that any process has mapped, each once, and the functions in them.

A container has its own C library: its path means something only under the container's root, so a file is known by device and
inode and opened through a process that maps it.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO

from offwake.recorder.elf import NAME_BITS, SHF_EXECINSTR, SHT_DYNSYM, SHT_SYMTAB, ElfError, ElfImage
from offwake.recorder.octets import FileOctets, open_safely
from offwake.recorder.snapshot import Mapping, mappings_of, processes

__all__ = ["mapped_files", "sites_of"]

NOTYPE, FUNC = 0, 2
NAME_AT_MOST = 1 << 12


def mapped_files(wanted: Callable[[str], bool]) -> Iterator[tuple[str, BinaryIO]]:
    """Open every executable mapped file whose path is wanted: its path, as its processes see it, and the file."""
    seen: set[bytes] = set()
    for pid in processes():
        for mapping in mappings_of(pid):
            *_, path, identity = mapping
            path = path.removesuffix(" (deleted)")
            if identity not in seen and path.startswith("/") and wanted(path):
                opened = _opened(pid, path, mapping)
                if opened:
                    seen.add(identity)
                    yield path, opened


def sites_of(file: BinaryIO, wanted: Callable[[str], bool]) -> list[tuple[str, int]]:
    """Return the names and file offsets of the functions in a file whose name is wanted; each place once.

    A function that only chooses which of several others is called (an IFUNC) is none: it is called once.
    """
    found: dict[int, str] = {}
    image = ElfImage(FileOctets(file))
    with suppress(ElfError), image.with_debug_images() as images:
        for each in images:
            executable = {index for index, section in enumerate(each.sections) if section.flags & SHF_EXECINSTR}
            for words, names in each.symbols(SHT_SYMTAB, SHT_DYNSYM):
                for head, address in zip(words[::3], words[1::3], strict=True):
                    section, kind = head >> 48, head >> 32 & 15
                    if section and (kind == FUNC or (kind == NOTYPE and section in executable)):
                        name = each.octets.text(names + (head & NAME_BITS), NAME_AT_MOST).decode(errors="replace")
                        if wanted(name):
                            found.setdefault(address, name)
        placed = [(name, image.file_offset(address)) for address, name in sorted(found.items())]
        return [(name, offset) for name, offset in placed if offset is not None]
    return []


def _opened(pid: int, path: str, mapping: Mapping) -> BinaryIO | None:
    start, end, _, _, identity = mapping
    places = (f"/proc/{pid}/root{path}", f"/proc/{pid}/map_files/{start:x}-{end:x}")
    return next(filter(None, (open_safely(place, identity) for place in places)), None)
