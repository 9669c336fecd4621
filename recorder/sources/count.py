"""Calls of functions and passes of tracepoints, by pattern: `count:PATTERN`. What fits is found before recording begins."""

from offwake.recorder.counting_functions import declared
from offwake.recorder.sources import Source

FORM = "count:PATTERN"
SUMMARY = "calls of functions, as u:LIBRARY:GLOB or GLOB of the kernel, and of tracepoints, t:GROUP:GLOB: function-counts"


def make(argument: str) -> Source:
    """Declare what follows `count:`. Raises UsageError where nothing fits, CannotRecord for what this kernel cannot."""
    return declared("count", argument)
