"""Addresses into names, from what the recording carries.

A frame is named when it is shown, once per address. In every frame but the leaf the address is where a call returns to:
the call itself is one byte before, and may be the last instruction of its function.
"""

import re
from bisect import bisect_right
from functools import cache
from typing import Any

from offwake.analyzer.address_space import AddressSpaces
from offwake.analyzer.unwind import PYTHON_FRAME, PythonCode

__all__ = ["KERNEL", "PYTHON", "Symbolizer", "demangled", "python_code"]

KERNEL = 0xFFFF_8000_0000_0000
"""Addresses from here up are the kernel's; between the user's and these lies only what was walked into by mistake."""
UNKNOWN_FRAME = "[unknown]"
PYTHON = "py::"
"""What names in a perf map begin with that Python wrote (CPython, Python/perf_trampoline.c)."""
PYTHON_RUNS = "_PyEval_EvalFrameDefault"
"""The function of CPython that runs functions of Python."""
RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")


class _Functions:
    """Functions by start, none overlapping another: [start, size, name, …]; size 0 runs on to the next."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = sorted(rows, key=lambda row: row[0])
        self._starts = [row[0] for row in self._rows]

    def find(self, address: int) -> tuple[int, str] | None:
        """Return start and name of the function that an address lies in; "" where it has no name."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        start, size, name = self._rows[index][:3]
        return (start, name) if not size or address < start + size else None

    def name(self, address: int) -> str | None:
        found = self.find(address)
        return found[1] if found else None


class Symbolizer:
    """Names frames. `symbols` is the payload of a recording's SYMBOLS block, `spaces` what a replay learned."""

    def __init__(self, symbols: dict[str, Any], spaces: AddressSpaces) -> None:
        self._kernel = _Functions(symbols["kernel"])
        files: dict[tuple[str, bytes], list[Any]] = {}
        for path, identity, rows in symbols["files"]:
            files.setdefault((path, bytes(identity)), []).extend(rows)
        jit: dict[int, list[Any]] = {}
        for pid, rows in symbols["jit"]:
            jit.setdefault(pid, []).extend(rows)
        self._files = {file: _Functions(rows) for file, rows in files.items()}
        self._jit = {pid: _Functions(rows) for pid, rows in jit.items()}
        self._spaces = spaces
        self.python_names: dict[int, str] = {}
        self._names: dict[tuple[int, int], str] = {}

    def frames(self, addresses: list[int], space: int) -> tuple[str, ...]:
        """Name a chain's frames, leaf first. Kernel frames end in `_[k]`."""
        found = []
        before_is_kernel: bool | None = None
        for address in addresses:
            if PYTHON_FRAME <= address < 2 * PYTHON_FRAME:
                found.append(self.python_names.get(address - PYTHON_FRAME, f"{PYTHON}{UNKNOWN_FRAME}"))
                continue
            is_kernel = address >= KERNEL
            is_leaf, before_is_kernel = is_kernel != before_is_kernel, is_kernel
            found.append(self._name(address if is_leaf else address - 1, -1 if is_kernel else space))
        return tuple(found)

    def _name(self, address: int, space: int) -> str:
        key = (address, space)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = (
                self._kernel_name(address) if address >= KERNEL else self._user_name(address, space)
            )
        return name

    def _kernel_name(self, address: int) -> str:
        return f"{self._kernel.name(address) or hex(address)}_[k]"

    def _user_name(self, address: int, space: int) -> str:
        if space < 0:
            return UNKNOWN_FRAME
        known = self._spaces.spaces[space]
        mapping = known.find(address)
        jit = self._jit.get(known.tgid)
        if jit and (mapping is None or self._spaces.files[mapping.file][0].startswith("//anon")):
            return jit.name(address) or UNKNOWN_FRAME
        if mapping is None:
            return UNKNOWN_FRAME
        offset = address - mapping.start + mapping.offset
        path, _ = file = self._spaces.files[mapping.file]
        functions = self._files.get(file)
        start, name = (functions.find(offset) if functions else None) or (offset, "")
        if name:
            return demangled(name)
        module = path.rpartition("/")[2] or path
        return UNKNOWN_FRAME if path.startswith("//anon") else f"{module}+{start:#x}"


def python_code(symbols: dict[str, Any]) -> PythonCode:
    """Return where Python's trampolines are, and its interpreters' loops, by their names."""
    found: dict[int, list[tuple[int, int]]] = {}
    for pid, rows in symbols["jit"]:
        if ranges := [(start, start + size) for start, size, name in rows if name.startswith(PYTHON)]:
            found.setdefault(pid, []).extend(ranges)
    interpreters = {
        (path, bytes(identity)): (start, start + size)
        for path, identity, rows in symbols["files"]
        for start, size, name in rows
        if name == PYTHON_RUNS
    }
    return PythonCode({pid: sorted(ranges) for pid, ranges in found.items()}, interpreters)


@cache
def demangled(name: str) -> str:
    """Return a C++ or Rust name as its author wrote it, other names as they are.

    Rust's older names are C++ names with a hash at the end, which is left out.
    """
    if not name.startswith(("_Z", "__Z")):
        return name
    import cxxfilt

    try:
        return RUST_HASH.sub("", cxxfilt.demangle(name))
    except cxxfilt.Error:  # no mangled name after all, or a host without a C++ library
        return name
