"""`offwake record` whose programs are on for a second and off for one, in turns.

    python -m benchmarks.flipping FLIPS [OPTION ...]

FLIPS gets a line a turn: when it began (seconds since 1970), and whether the programs are on since then. What is lost while
they are on, against the seconds before and after, is what they cost: the recorder runs, and has learned, all the while.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from offwake.cli import main
from offwake.commands import record as command
from offwake.recorder import session
from offwake.recorder.options import Options, Progress, Result
from offwake.recorder.programs.loading import load
from offwake.recorder.programs.program import Program


class Flipping:
    """Takes the place of what the command calls, and looks on once a second."""

    def __init__(self, flips: Path) -> None:
        self._flips = flips
        self._programs: list[Program] = []
        self._is_on = True

    def load(self, *arguments: Any) -> Program:
        """Load as ever."""
        self._programs.append(load(*arguments))
        return self._programs[-1]

    def record(self, options: Options, watch: Callable[[Progress], None], say: Callable[[str], None]) -> Result:
        """Record as ever, but for this."""
        return session.record(options, self.flip, say)

    def flip(self, progress: Progress) -> None:
        """Attach all programs, or detach them."""
        self._is_on = not self._is_on
        for program in self._programs:
            (program.attach if self._is_on else program.detach)()
        with self._flips.open("a") as file:
            file.write(f"{time.time()} {int(self._is_on)}\n")


if __name__ == "__main__":
    flipping = Flipping(Path(sys.argv[1]))
    with patch.object(session, "load", flipping.load), patch.object(command, "record", flipping.record):
        sys.exit(main(["record", *sys.argv[2:]]))
