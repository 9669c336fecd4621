"""Calls of functions and how long they take, by pattern: `time:PATTERN`. It takes a second probe, where they return."""

from offwake.recorder.counting_functions import declared
from offwake.recorder.sources import Source

FORM = "time:PATTERN"
SUMMARY = "the same, with how long they take in all, on average, and how that varies; no tracepoints"


def make(argument: str) -> Source:
    """Declare what follows `time:`. Raises UsageError where nothing fits, CannotRecord for what this kernel cannot time."""
    return declared("time", argument)
