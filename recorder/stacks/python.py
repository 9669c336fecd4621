"""CPython, unmodified and without any flag: where its threads keep the frames of Python functions.

The interpreter runs Python functions that call each other in one C function, so the C stack does not show them. Their frames
are a list that begins in the thread's state, which pthread_getspecific() gives, whoever holds the lock: user_stack.bpf.c
walks it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from offwake.recorder.binaries.elf import ElfError, ElfImage
from offwake.recorder.binaries.files import File, FileKeeper, Row
from offwake.recorder.sources import Event, Field

__all__ = ["PYTHON_CODE", "Interpreter", "Pythons"]

INTERPRETER = re.compile(r"(?:lib)?python3\.(\d+)(?:\.so(?:\.1\.0)?)?")
C_LIBRARY = "libc.so.6"  # of pthread_getspecific no other is known
DIRECT, NO_SHIM = 0xFFFFFFFF, 0

PYTHON_CODE = Event(
    "python_code",
    "",
    (
        Field("tgid", "u4"),
        Field("line", "u4"),
        Field("code", "u8"),
        Field("function", "S64"),
        Field("file", "S128"),
    ),
)
"""What a code object is called, sent once a segment with the first stack that has it. `code` is its id, of 48 bits."""


@dataclass(frozen=True)
class Layout:
    """Offsets in CPython's structs, of one minor version, on machines of 64 bits.

    `key`: autoTSSkey in _PyRuntime. `frame`: in PyThreadState, the current frame, or where `current` says at which offset a
    _PyCFrame has it. In a frame: `code`, `previous`, `mark`, a byte that is `shim` in a frame that only marks where C called
    Python or, where no frame does, that is not 0 in a frame that C called. `text`: in a string of ASCII, its characters.
    """

    key: int
    frame: int
    current: int
    code: int
    previous: int
    mark: int
    shim: int
    text: int


# offsetof() with Py_BUILD_CORE of 3.11.7, 3.12.1 and 3.13.0: pycore_runtime.h, pycore_frame.h, cpython/pystate.h.
LAYOUTS = {
    11: Layout(key=592, frame=56, current=8, code=32, previous=48, mark=68, shim=NO_SHIM, text=48),
    12: Layout(key=1544, frame=56, current=0, code=0, previous=8, mark=70, shim=3, text=40),
    13: Layout(key=2160, frame=72, current=DIRECT, code=0, previous=8, mark=70, shim=3, text=40),
}


@dataclass(frozen=True)
class Interpreter:
    """A process's interpreter: the address of its key, and its version's layout."""

    key_address: int
    layout: Layout

    def words(self) -> tuple[int, ...]:
        """Return struct python of user_stack.bpf.c, as a number of eight bytes and seven of four."""
        layout = self.layout
        offsets = (layout.frame, layout.current, layout.code, layout.previous, layout.mark, layout.shim, layout.text)
        return self.key_address, *offsets


class Pythons:
    """Finds the interpreters of processes; what a file holds is looked up once."""

    def __init__(self, keeper: FileKeeper) -> None:
        self._keeper = keeper
        self._found: dict[tuple[File, int], int | None] = {}

    def find(self, mappings: Iterable[tuple[Row, File]]) -> Interpreter | None:
        """Return the interpreter of a process with these executable mappings, and the files that they show."""
        listed = list(mappings)
        names = [path.rpartition("/")[2] for _, (path, _) in listed]
        if C_LIBRARY not in names:
            return None
        for (mapping, file), name in zip(listed, names, strict=True):
            match = INTERPRETER.fullmatch(name)
            layout = LAYOUTS.get(int(match[1])) if match else None
            if layout and (distance := self._distance(file, mapping)) is not None:
                return Interpreter(mapping[0] + distance + layout.key, layout)
        return None

    def _distance(self, file: File, mapping: Row) -> int | None:
        """Return how far from a mapping's start _PyRuntime lies."""
        key = (file, mapping[2])
        if key not in self._found:
            image = self._keeper.image(file, [mapping])
            self._found[key] = _distance_of(image, mapping[2]) if image else None
        return self._found[key]


def _distance_of(image: ElfImage, offset: int) -> int | None:
    try:
        runtime, start = image.object_address("_PyRuntime"), image.address(offset)
    except ElfError:
        return None
    return runtime - start if runtime is not None and start is not None else None
