"""Libraries and programs that run: the files that any process has mapped, each once, and the functions in them.

A container has its own C library: its path means something only under the container's root, so a file is known by device and
inode and opened through a process that maps it.
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from offwake.recorder.elf import ElfError, ElfImage, Function
from offwake.recorder.files import open_safely
from offwake.recorder.snapshot import Mapping, mappings_of, processes

__all__ = ["mapped_files", "sites_of"]

FILE_AT_MOST = 1 << 30


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
    file.seek(0)
    try:
        image = ElfImage(file.read(FILE_AT_MOST))
        found: dict[int, Function] = {}
        for function in image.all_names():
            if not function.chooses and wanted(function.name):
                found.setdefault(function.address, function)
        placed = [(function.name, image.file_offset(address)) for address, function in sorted(found.items())]
    except ElfError:
        return []
    return [(name, offset) for name, offset in placed if offset is not None]


def _opened(pid: int, path: str, mapping: Mapping) -> BinaryIO | None:
    start, end, _, _, identity = mapping
    places = (f"/proc/{pid}/root{path}", f"/proc/{pid}/map_files/{start:x}-{end:x}")
    return next(filter(None, (open_safely(place, identity) for place in places)), None)
