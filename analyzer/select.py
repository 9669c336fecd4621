"""The one selection object: which threads, which time, which waits. Every view, table, command and page uses it.

scope.py lays it on a recording.
"""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.cgroups import Cgroups
from offwake.analyzer.idle import IdleRules
from offwake.analyzer.states import LETTERS
from offwake.errors import UsageError

__all__ = ["Selection"]


@dataclass(frozen=True)
class Selection:
    """What to look at. None means no restriction.

    `states` holds letters of waits as /proc shows them, R for threads that would run. `min_ns` and `max_ns` bound, both
    included, how long a wait was in what a view, table or heat map weighs it by. `begin_ns` and `end_ns` are nanoseconds
    since the recording's start; intervals are clipped to them, but with `ended` the waits that ended between them count,
    whole: what a region of a heat map holds. `grep` is a regular expression for some frame of a stack, or a row's text.
    `show_all` brings back the waits that `idle_rules` call idle.
    """

    pid: int | None = None
    tid: int | None = None
    comm: str | None = None
    cgroup: str | None = None
    states: str | None = None
    min_ns: int | None = None
    max_ns: int | None = None
    begin_ns: int | None = None
    end_ns: int | None = None
    ended: bool = False
    grep: str | None = None
    show_all: bool = False
    idle_rules: IdleRules = field(default_factory=IdleRules.default)

    def __post_init__(self) -> None:
        wrong = set(self.states or "") - set(LETTERS)
        if wrong:
            raise UsageError(f"--state {','.join(sorted(wrong))}: no such state; there are {','.join(LETTERS)}")

    def lasting(self, value_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which durations lie between `min_ns` and `max_ns`."""
        chosen = np.ones(len(value_ns), np.bool_)
        if self.min_ns is not None:
            chosen &= value_ns >= self.min_ns
        if self.max_ns is not None:
            chosen &= value_ns <= self.max_ns
        return chosen

    def lasts(self, value_ns: int | None) -> bool:
        """Tell whether one duration lies between them; one that is not known does only where there are no bounds."""
        if value_ns is None:
            return self.min_ns is None and self.max_ns is None
        return (self.min_ns is None or value_ns >= self.min_ns) and (self.max_ns is None or value_ns <= self.max_ns)

    def fits(self, tid: int | None, pid: int | None, comm: str | None, cgroup: str) -> bool:
        """Tell whether an event of this thread is selected; one whose thread is not known fits only no restriction."""
        return (
            (self.tid is None or tid == self.tid)
            and (self.pid is None or pid == self.pid)
            and (self.comm is None or (comm is not None and fnmatchcase(comm, self.comm)))
            and self.fits_cgroup(cgroup)
        )

    def fits_cgroup(self, path: str) -> bool:
        """Tell whether a cgroup is the selected one, by its path or by its name."""
        return self.cgroup is None or fnmatchcase(path, self.cgroup) or fnmatchcase(Cgroups.label(path), self.cgroup)
