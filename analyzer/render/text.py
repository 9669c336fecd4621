"""Text that every output shares: durations, sizes, counts, shares, and names made safe to print.

Names in a recording (threads, symbols, paths, hosts) are bytes from strangers. What is not printable in a terminal,
in XML or in HTML is replaced here, once, before any of them sees it.
"""

import re

__all__ = ["count", "counted", "duration", "percent", "printable", "significant", "size", "weight"]

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls: terminal escapes, line ends
    "\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069"  # separators of lines, marks that reorder text
    "\ud800-\udfff\ufeff\ufffe\uffff]"  # what XML 1.0 forbids even when escaped, and the byte order mark
)
_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"))
_SIZES = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))


def printable(text: str) -> str:
    """Replace by U+FFFD every character that could steer a terminal, reorder a line or make XML ill-formed."""
    return _UNPRINTABLE.sub("\ufffd", text)


def duration(ns: int) -> str:
    """Format nanoseconds with three significant digits: `12.3 ms`."""
    if ns < 0:
        return "-" + duration(-ns)
    return _in_units(ns, _UNITS, "ns")


def weight(value: int, unit: str) -> str:
    """Format what a stack weighs: nanoseconds, or how many of a plural noun."""
    return duration(value) if unit == "ns" else f"{count(value)} {unit}"


def size(number: int) -> str:
    """Format bytes with three significant digits: `12.3 kB`, of 1,000 bytes each."""
    return _in_units(number, _SIZES, "B")


def significant(value: float) -> str:
    """Format a number of at least 1 with three significant digits, and thousands apart: `1.23`, `12.3`, `12,345`."""
    return f"{value:,.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}"


def count(number: int) -> str:
    """Format a whole number with thousands apart: `1,234`."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """Format how many there are of a noun: `1 wait`, `1,234 waits`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def percent(part: float, whole: float, digits: int = 2) -> str:
    """Format a share: `5.67 %`. A share of nothing is 0."""
    return f"{100 * part / whole if whole else 0:.{digits}f} %"


def _in_units(number: int, units: tuple[tuple[int, str], ...], smallest: str) -> str:
    for one, unit in units:
        if number >= 0.9995 * one:  # else it would print as 1,000 of the smaller unit
            return f"{significant(number / one)} {unit}"
    return f"{number} {smallest}"
