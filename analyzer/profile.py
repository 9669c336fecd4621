"""Profile: weighted stacks, the one value that every stack view makes and every renderer draws.

Profiles merge: `a + b` is associative and commutative, keyed by the frames' text, so segments, recordings and hosts can
be added up in any order.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, replace

from offwake.analyzer.slices import NOTHING, OverTime

__all__ = ["Frames", "Profile", "Weight"]

Frames = tuple[str, ...]
"""Frame names, root first. The first is the target (a comm, a thread, a process). Kernel frames end in `_[k]`; `--`
separates a target's stack from its waker's; a name in square brackets is no function: `[preempted]`, `[open]`, …"""


@dataclass(slots=True)
class Weight:
    """What one stack weighs: nanoseconds, and how many waits, slices or samples they came from.

    `open_ns` is the part of waits that began before the recording or did not end in it: at least so long.
    """

    value_ns: int = 0
    count: int = 0
    open_ns: int = 0


@dataclass(slots=True)
class Profile:
    """Stacks with weights, of one view.

    `hidden_ns` is what the view left out by default (threads that slept throughout, idle waits), `unknown_ns` what
    nothing is known of in the selected threads' time: shown in subtitles. Where `unit` is not "ns" it is what is counted,
    and all values are counts of that. `over_time` is what stacks weighed when, where that was asked for.
    """

    view: str
    weights: dict[Frames, Weight] = field(default_factory=dict)
    hidden_ns: int = 0
    unknown_ns: int = 0
    unit: str = "ns"
    over_time: OverTime = NOTHING

    def add(self, frames: Frames, value_ns: int, count: int = 1, open_ns: int = 0) -> None:
        """Add one stack's nanoseconds to what is there."""
        weight = self.weights.setdefault(frames, Weight())
        weight.value_ns += value_ns
        weight.count += count
        weight.open_ns += open_ns

    @property
    def total_ns(self) -> int:
        """Nanoseconds of all stacks together, without what is hidden."""
        return sum(weight.value_ns for weight in self.weights.values())

    @property
    def open_ns(self) -> int:
        """Nanoseconds of them that are of open waits."""
        return sum(weight.open_ns for weight in self.weights.values())

    def containing(self, names: Container[str]) -> "Profile":
        """Return the stacks with a frame of one of these names."""
        kept = {frames: weight for frames, weight in self.weights.items() if any(name in names for name in frames)}
        return replace(self, weights=kept, over_time=self.over_time.only(kept))

    def __iter__(self) -> Iterator[tuple[Frames, Weight]]:
        """Yield stacks with their weights, sorted by frames, so that equal profiles print equally."""
        yield from sorted(self.weights.items())

    def __len__(self) -> int:
        return len(self.weights)

    def __add__(self, other: "Profile") -> "Profile":
        return Profile.merged(self.view, (self, other))

    @staticmethod
    def merged(view: str, profiles: Iterable["Profile"]) -> "Profile":
        """Add up any number of profiles."""
        total = Profile(view)
        for profile in profiles:
            total.unit = profile.unit
            total.hidden_ns += profile.hidden_ns
            total.unknown_ns += profile.unknown_ns
            total.over_time += profile.over_time
            for frames, weight in profile.weights.items():
                total.add(frames, weight.value_ns, weight.count, weight.open_ns)
        return total
