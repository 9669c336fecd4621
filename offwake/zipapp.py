"""Builds offwake-recorder.pyz: the recorder as one file, for machines without pip.

It runs on what a distribution packages: Python 3.11, bcc, msgpack and zstandard. The same sources give the same bytes.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

__all__ = ["build"]

HERE = Path(__file__).parent
INTERPRETER = b"#!/usr/bin/python3 -I\n"  # isolated: as root, nothing from the caller's folders or environment
COMMANDS = ("record", "recover", "sources", "doctor", "verify")
SUFFIXES = (".py", ".c", ".h")


def build(archive: Path) -> None:
    """Write the archive, which is executable."""
    archive.parent.mkdir(exist_ok=True)
    with archive.open("wb") as file:
        file.write(INTERPRETER)
        with ZipFile(file, "w", ZIP_DEFLATED, compresslevel=9) as packed:
            _add(packed, "__main__.py", HERE / "__main__.py")
            for path in sorted(_modules()):
                _add(packed, f"offwake/{path.relative_to(HERE)}", path)
    archive.chmod(0o755)


def _add(packed: ZipFile, name: str, path: Path) -> None:
    info = ZipInfo(name)  # dated 1980, whenever the file was changed
    info.compress_type = ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    packed.writestr(info, path.read_bytes())


def _modules() -> Iterator[Path]:
    for name in ("__init__", "cli", "errors", "commands/__init__", *(f"commands/{name}" for name in COMMANDS)):
        yield HERE / f"{name}.py"
    for folder in ("format", "recorder"):
        yield from (path for path in (HERE / folder).rglob("*") if path.suffix in SUFFIXES)
    for name in ("__init__", "render/__init__", "render/text"):  # what makes names safe to print
        yield HERE / "analyzer" / f"{name}.py"


if __name__ == "__main__":
    build(Path(sys.argv[1]))
