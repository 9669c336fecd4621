"""The one selection object: which threads, which time, which waits. Every view, table, command and page uses it."""

from dataclasses import dataclass

__all__ = ["Selection"]


@dataclass(frozen=True)
class Selection:
    """What to look at. None means no restriction.

    `begin_ns` and `end_ns` are nanoseconds since the recording's start; intervals are clipped to them. `grep` is a
    regular expression that some frame of a stack must match. `show_all` brings back threads that slept throughout.
    """

    pid: int | None = None
    tid: int | None = None
    comm: str | None = None
    begin_ns: int | None = None
    end_ns: int | None = None
    grep: str | None = None
    show_all: bool = False
