"""The distribution's bcc, from wherever it is installed.

bcc is not on PyPI (the `bcc` there is an unrelated package): it comes with the distribution, for the distribution's
Python. It is pure Python over libbcc.so, so any Python 3 can import it, also one in a virtual environment that cannot
see the system's packages.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from types import ModuleType
from typing import BinaryIO

from offwake.errors import CannotRecord

__all__ = ["compiling", "load_bcc"]

KERNEL_SOURCE = "BCC_KERNEL_SOURCE"
HEADERS = files("offwake.recorder").joinpath("headers")
DISTRIBUTION = (
    "/usr/lib/python3/dist-packages",
    "/usr/lib/python3*/site-packages",
    "/usr/lib64/python3*/site-packages",
)
INSTALL = (
    "install it with `apt-get install python3-bpfcc` (Debian, Ubuntu), `dnf install python3-bcc` (Fedora, RHEL) or "
    "`pacman -S python-bcc` (Arch); the package named bcc on PyPI is an unrelated one"
)


def load_bcc() -> ModuleType:
    """Import bcc, or raise CannotRecord with the package to install."""
    refused = "it is not installed"
    for place in (None, *_places()):
        try:
            module = _import_from(place)
        except (ImportError, OSError) as error:  # OSError: libbcc.so is missing
            refused = str(error) if place else refused
            continue
        if hasattr(module, "BPF"):
            return module
        refused = f"{module.__file__} is the unrelated package of that name from PyPI"
        _forget()
    raise CannotRecord(f"recording needs bcc: {refused}; {INSTALL}")


@contextmanager
def compiling() -> Iterator[BinaryIO]:
    """Let bcc compile, against stand-ins for the kernel's headers. Yields what clang and the verifier write, past Python, to
    standard error."""
    standard_error = os.dup(2)
    with _stand_in_headers(), TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            yield messages
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)


@contextmanager
def _stand_in_headers() -> Iterator[None]:
    """Show bcc the headers as files, which in an archive they are not; unless the user has chosen others."""
    if KERNEL_SOURCE in os.environ:
        yield
        return
    with ExitStack() as stack:
        folder = HEADERS
        if not isinstance(HEADERS, Path):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="offwake-")))
            _extract(HEADERS, folder)
        os.environ[KERNEL_SOURCE] = str(folder)
        stack.callback(os.environ.pop, KERNEL_SOURCE)
        yield


def _extract(tree: Traversable, into: Path) -> None:
    for item in tree.iterdir():
        if item.is_dir():
            (into / item.name).mkdir()
            _extract(item, into / item.name)
        else:
            (into / item.name).write_bytes(item.read_bytes())


def _places() -> list[Path]:
    found: list[Path] = []
    for pattern in DISTRIBUTION:
        root = Path(pattern)
        found += sorted(Path("/").glob(str(root.relative_to("/")) + "/bcc/__init__.py"))
    return found


def _import_from(place: Path | None) -> ModuleType:
    if place is None:
        import bcc

        return bcc  # type: ignore[no-any-return]
    spec = importlib.util.spec_from_file_location("bcc", place, submodule_search_locations=[str(place.parent)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        _forget()
        raise
    return module


def _forget() -> None:
    for name in [name for name in sys.modules if name == "bcc" or name.startswith("bcc.")]:
        del sys.modules[name]
