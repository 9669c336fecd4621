"""numba, set up once: compiled loops are cached in a folder of the user's, away from the package.

numba raises where neither the package's folder nor HOME is writable: there the loops are compiled anew in each process.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["compiled"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _cache_folder() -> Path | None:
    """Return a folder that belongs to the user alone, or None where there is none to be had."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    for folder in (base / "offwake" / "numba", Path(tempfile.gettempdir()) / f"offwake-numba-{os.getuid()}"):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            facts = folder.stat()
        except (OSError, RuntimeError):
            continue
        if facts.st_uid == os.getuid() and not facts.st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    return None


_folder = _cache_folder()
if _folder:
    os.environ.setdefault("NUMBA_CACHE_DIR", str(_folder))

import numba  # noqa: E402  (it reads NUMBA_CACHE_DIR when it is imported)


def compiled(function: _Function) -> _Function:
    """Compile a loop to machine code that runs without the GIL, and may not make arrays.

    Without arrays of its own it needs no reference counts, which numba otherwise keeps, atomically, for every array that
    is handed on to a function: ten times what the loops themselves take.
    """
    made: _Function = numba.njit(function, cache=_folder is not None, nogil=True, _nrt=False)  # type: ignore[call-overload]
    return made
