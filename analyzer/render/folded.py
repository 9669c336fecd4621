"""Folded stacks: one line a stack, as stackcollapse-perf.pl and bcc's tools print them."""

from offwake.analyzer.profile import Profile
from offwake.analyzer.render.text import printable

__all__ = ["folded"]


def folded(profile: Profile) -> str:
    """Return `frame;frame;… N` lines, sorted, N in whole microseconds.

    Each N is its stack's nanoseconds rounded to the nearest microsecond, so a line is true to half a microsecond and a
    sum to half a microsecond a line. A stack that rounds to 0 is printed: it was there. `;` inside a name becomes `:`,
    and what is not printable U+FFFD. Of a profile that counts, N are counts.
    """
    of_one = 1000 if profile.unit == "ns" else 1
    return "".join(
        f"{';'.join(printable(name).replace(';', ':') for name in frames)} {round(weight.value_ns / of_one)}\n"
        for frames, weight in profile
    )
