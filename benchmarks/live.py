"""A recorder that runs beside a load: begun before it, ended after it."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["recorder"]

EVENTS_LOST = 3  # the exit code of a recording that is whole but for them


@contextmanager
def recorder(command: Sequence[str | Path], file: Path) -> "Iterator[subprocess.Popen[str]]":
    """Run a command that records into a file, from when it is attached until the block ends, and then to its end."""
    part = file.with_name(f"{file.name}.part")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (part.exists() and part.stat().st_size):
            time.sleep(0.05)
        try:
            yield process
        finally:
            process.terminate()
            said = process.communicate()[1]
    if process.returncode not in (0, EVENTS_LOST):
        sys.exit(f"failed with {process.returncode}: {' '.join(map(str, command))}\n{said}")
