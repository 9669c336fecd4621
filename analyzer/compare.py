"""Comparing two recordings, or two times of one: what stacks and frames weigh in each, and which differences stand out.

Both sides are cut into time slices, and variation.py tells what would differ as much by chance; docs/comparing.md says why.
"""

import re
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer import query
from offwake.analyzer.profile import Profile
from offwake.analyzer.recording import Recording
from offwake.analyzer.render.text import printable
from offwake.analyzer.scope import Scope
from offwake.analyzer.select import Selection
from offwake.analyzer.union import Union
from offwake.analyzer.variation import Varying, adjusted, p_values
from offwake.analyzer.verdicts import Verdicts, agreed
from offwake.analyzer.views import ViewOptions
from offwake.errors import UsageError

__all__ = ["EFFECT", "LEVEL", "NORMALIZE", "SLICES", "Comparison", "Differences", "Part", "Side", "compare", "compared"]

NORMALIZE = ("second", "share", "none")
SLICES = 128
LEVEL = 0.01
"""Of the differences that are said to stand out, at most this share does not."""
EFFECT = 0.01
"""Share of the larger total that a difference must be of, to be worth a word."""
WHOLE = 1_000_000_000
"""What a share is of: so that it is written in nanoseconds, as everything."""

Stack = tuple[str, ...]
Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
WORKER = re.compile(r"(kworker)/\S+")
WITH_ID = re.compile(r"(.+) \(\d+\)")


@dataclass(frozen=True)
class Part:
    """A recording, and what is selected of it."""

    recording: Recording
    selection: Selection


@dataclass(frozen=True)
class Side:
    """What was found of a part: its stacks, with what they weighed in `SLICES` slices, and how long it is."""

    profile: Profile
    seconds: float


@dataclass(frozen=True)
class Differences:
    """What some things weigh before and after (int64, N each), as it was normalized, and what speaks for a difference.

    `p` is the probability of so large a difference by chance, `q` the same among all that were tested (float64, N; 1 where
    nothing was tested, being less than 1 % of the total); `stands_out` (N) those that differ.
    """

    before_ns: Numbers
    after_ns: Numbers
    p: Floats
    q: Floats
    stands_out: Bools

    @property
    def delta_ns(self) -> Numbers:
        """How much more there is after."""
        return np.asarray(self.after_ns - self.before_ns)


@dataclass(frozen=True)
class _Cells:
    """What stacks of a union weighed in slices, on one side: cell i is of stack `row[i]`, in ascending order."""

    row: Numbers
    slice: NDArray[np.int32]
    value_ns: Numbers
    seconds: float

    def ranges(self, first: Numbers, end: Numbers) -> Floats:
        """Return what ranges of stacks weighed in slices, in ns a second (float64, R × SLICES)."""
        places = zip(np.searchsorted(self.row, first).tolist(), np.searchsorted(self.row, end).tolist(), strict=True)
        sums = [np.bincount(self.slice[a:b], self.value_ns[a:b], SLICES) for a, b in places]
        return np.asarray(np.array(sums, np.float64).reshape(-1, SLICES) * (SLICES / self.seconds), np.float64)

    def groups(self, group: Numbers, count: int) -> Floats:
        """Return the same of groups of stacks, given the group of each one, below 0 where it is of none."""
        groups = group[self.row]
        mine = groups >= 0
        places = groups[mine] * SLICES + self.slice[mine]
        sums = np.bincount(places, self.value_ns[mine], count * SLICES)
        return np.asarray(sums.reshape(-1, SLICES) * (SLICES / self.seconds))


class Comparison:
    """Two sides' stacks on their union, normalized, and the differences of all frames."""

    def __init__(self, sides: tuple[Side, Side], normalize: str, same: bool) -> None:
        self.before, self.after = sides
        self.normalize = normalize
        self.view = self.before.profile.view
        names = _Names(same)
        weights = [names.weights(side.profile) for side in sides]
        self.union = Union.of((*weights[0], *weights[1]))
        self._cells = [names.cells(side, self.union.rows) for side in sides]
        self.before_ns, self.after_ns = (
            self._normalized(mine, side) for mine, side in zip(weights, sides, strict=True)
        )

    @property
    def least_ns(self) -> int:
        """The least difference that is worth a word."""
        return max(round(EFFECT * max(int(self.before_ns.sum()), int(self.after_ns.sum()))), 1)

    @cached_property
    def total(self) -> Differences:
        """Differences of frames, each with what is above it, in the order of the union's frames."""
        return self._frames[0]

    @cached_property
    def own(self) -> Differences:
        """Differences of frames without what is above them."""
        return self._frames[1]

    @cached_property
    def tested(self) -> int:
        """How many different frames were tested."""
        return len(np.unique(self._ranges, axis=0))

    def grouped(self, group: Numbers, count: int) -> Differences:
        """Return the differences of groups of stacks, given the group (0 … count − 1) of each stack of the union."""
        before_ns, after_ns = (
            np.bincount(group, value_ns, count).astype(np.int64) for value_ns in (self.before_ns, self.after_ns)
        )
        large = np.maximum(before_ns, after_ns) >= self.least_ns
        p, tested = np.ones(count), int(large.sum())
        number = np.where(large, np.cumsum(large) - 1, -1)[group]
        sides = (self._varying(cells, cells.groups(number, tested)) for cells in self._cells)
        p[large] = p_values(*sides)
        q = np.ones(count)
        q[large] = adjusted(p[large])
        return self._differences(before_ns, after_ns, p, q)

    @cached_property
    def _ranges(self) -> Numbers:
        """The stacks from which to which that are tested: frames with all above them, then single stacks (int64, R × 2)."""
        frames, stacks = self._large
        leaf = np.flatnonzero(stacks)
        first = np.concatenate((self.union.first[frames], leaf))
        return np.stack((first, np.concatenate((self.union.end[frames], leaf + 1))), axis=1)

    @cached_property
    def _large(self) -> tuple[Bools, Bools]:
        """Tell which frames and which stacks weigh enough for a difference that is worth a word."""
        larger = np.maximum(self.union.totals(self.before_ns), self.union.totals(self.after_ns))
        return larger >= self.least_ns, np.maximum(self.before_ns, self.after_ns) >= self.least_ns

    @cached_property
    def _frames(self) -> tuple[Differences, Differences]:
        """Test every range of stacks once, whatever frames it is of."""
        frames, stacks = self._large
        ranges, which = np.unique(self._ranges, axis=0, return_inverse=True)
        sides = (self._varying(cells, cells.ranges(*ranges.T)) for cells in self._cells)
        p = p_values(*sides) if len(ranges) else np.empty(0)
        both, which = np.stack((p, adjusted(p))), which.reshape(-1)
        of_totals = np.ones((2, len(frames)))
        of_totals[:, frames] = both[:, which[: int(frames.sum())]]
        of_selves = np.ones((2, len(frames)))
        of_selves[:, self.union.leaf[stacks]] = both[:, which[int(frames.sum()) :]]
        totals, selves = self.union.totals, self.union.selves
        return (
            self._differences(totals(self.before_ns), totals(self.after_ns), *of_totals),
            self._differences(selves(self.before_ns), selves(self.after_ns), *of_selves),
        )

    def _differences(self, before_ns: Numbers, after_ns: Numbers, p: Floats, q: Floats) -> Differences:
        stands_out = (q <= LEVEL) & (np.abs(after_ns - before_ns) >= self.least_ns)
        return Differences(before_ns, after_ns, p, q, stands_out)

    def _normalized(self, weights: dict[Stack, int], side: Side) -> Numbers:
        values = np.array([weights.get(stack, 0) for stack in self.union.stacks], np.int64)
        if self.normalize == "none":
            return values
        by = side.seconds if self.normalize == "second" else max(int(values.sum()), 1) / WHOLE
        return np.rint(values / by).astype(np.int64)

    def _varying(self, cells: _Cells, slices: Floats) -> Varying:
        """Return figures whose means are compared. A share is a ratio: slices count by what they add to its error."""
        if self.normalize == "second":
            return Varying(slices, cells.seconds)
        if self.normalize == "none":
            return Varying(slices, cells.seconds, cells.seconds)
        everything = np.bincount(cells.slice, cells.value_ns, SLICES) * (SLICES / cells.seconds)
        mean = max(everything.mean(), 1e-9)
        share = slices.mean(axis=1, keepdims=True) / mean
        return Varying((slices - share * everything) / mean + share, cells.seconds)


class _Known(dict[str, str]):
    """Names, each with what it is called in a comparison: printable, and alike where only a number tells them apart."""

    def __init__(self, same: bool) -> None:
        self._same = same

    def __missing__(self, name: str) -> str:
        self[name] = known = printable(self._alike(name))
        return known

    def _alike(self, name: str) -> str:
        """Which worker of the kernel it was says nothing; nor does an id, in another recording."""
        with_id = None if self._same else WITH_ID.fullmatch(name)
        name = with_id[1] if with_id else name
        worker = WORKER.fullmatch(name)
        return f"{worker[1]}/*" if worker else name


class _Names:
    """Stacks by what their frames are called in a comparison."""

    def __init__(self, same: bool) -> None:
        self._known = _Known(same)
        self._stacks: dict[Stack, Stack] = {}

    def weights(self, profile: Profile) -> dict[Stack, int]:
        found: dict[Stack, int] = {}
        for frames, weight in profile.weights.items():
            stack = self._stack(frames)
            found[stack] = found.get(stack, 0) + weight.value_ns
        return found

    def cells(self, side: Side, rows: dict[Stack, int]) -> _Cells:
        """Number the cells of a side by the union's stacks; what is of none of them was not selected."""
        over_time, chosen = side.profile.over_time, side.profile.weights
        row_of = [rows[self._stack(frames)] if frames in chosen else -1 for frames in over_time.stacks]
        row = np.array(row_of, np.int64)[over_time.stack]
        order = np.argsort(row, kind="stable")
        order = order[np.count_nonzero(row < 0) :]
        return _Cells(row[order], over_time.slice[order], over_time.value_ns[order], side.seconds)

    def _stack(self, frames: Stack) -> Stack:
        stack = self._stacks.get(frames)
        if stack is None:
            self._stacks[frames] = stack = tuple(map(self._known.__getitem__, frames))
        return stack


def compare(before: Part, after: Part, view: str, options: ViewOptions, normalize: str = "second") -> Comparison:
    """Compare a view of two recordings, or of two times of one. Raises UsageError as `query.profile` does."""
    if view in query.VIEWS and view not in query.COMPARABLE:
        counts = f"`offwake folded FILE --view {view}` gives the counts of each"
        raise UsageError(f"--view {view} counts what happened, and only time can be compared; {counts}")
    if options.sandwich is not None:
        raise UsageError("--sandwich says nothing to a comparison: --grep chooses stacks with a frame")
    parts, same = (before, after), before.recording is after.recording
    verdicts: tuple[Verdicts | None, ...] = (None, None)
    if not (before.selection.show_all or same):
        verdicts = agreed(tuple(part.recording.idle(part.selection.idle_rules) for part in parts))
    sides = [_side(part, view, options, judged) for part, judged in zip(parts, verdicts, strict=True)]
    return compared((sides[0], sides[1]), normalize, same)


def compared(sides: tuple[Side, Side], normalize: str = "second", same: bool = False) -> Comparison:
    """Compare two sides; of the `same` recording, thread and process ids tell threads and processes apart."""
    return Comparison(sides, normalize, same)


def _side(part: Part, view: str, options: ViewOptions, verdicts: Verdicts | None) -> Side:
    profile = query.over_time(part.recording, view, part.selection, options, query.Cut(SLICES, verdicts))
    whole = replace(part.selection, show_all=True)
    scope = Scope(part.recording, whole)
    return Side(profile, max(scope.end_ns - scope.begin_ns, 1) / 1e9)
