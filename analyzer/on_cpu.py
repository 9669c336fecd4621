"""On-CPU time by stack: each running slice is shared among the samples that fell into it.

So the view adds up to the time that threads ran, to the nanosecond; a slice that no sample fell into is `[not sampled]`.
"""

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.groups import Weights
from offwake.analyzer.intervals import NEVER, SAMPLE
from offwake.analyzer.naming import Frames, Naming
from offwake.analyzer.profile import Profile
from offwake.analyzer.replay import Batch
from offwake.analyzer.roots import named_by
from offwake.analyzer.scope import Scope
from offwake.analyzer.slices import Summed
from offwake.analyzer.views import Key, ViewOptions, named

__all__ = ["OnCpu", "Samples", "fallen_into", "sampled_frames"]


class Samples:
    """Holds samples back until the slice that they fell into has ended."""

    def __init__(self) -> None:
        self._waiting = np.empty(0, SAMPLE)

    def feed(self, batch: Batch) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Return the slices that ended (SLICE, by serial), and their samples (SAMPLE)."""
        samples = np.concatenate((self._waiting, batch.activity.samples))
        ended = batch.activity.slices[np.argsort(batch.activity.slices["serial"])]
        self._waiting = samples[~np.isin(samples["serial"], ended["serial"])]
        return ended, fallen_into(ended, samples)[0]


def fallen_into(slices: NDArray[np.void], samples: NDArray[np.void]) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """Return the samples that fell into slices (by serial), and the place of each one's slice."""
    owner = np.minimum(np.searchsorted(slices["serial"], samples["serial"]), max(len(slices) - 1, 0))
    mine = slices["serial"][owner] == samples["serial"] if len(slices) else np.zeros(len(samples), np.bool_)
    return samples[mine], owner[mine]


def sampled_frames(key: Key, naming: Naming) -> Frames:
    """Return the frames of a key: a name, a sample's stack and its space."""
    name, stack, space = key
    return naming.name(name), *(naming.root_first(stack, space) or ("[not sampled]",))


class OnCpu:
    """Collects slices and their samples. Each stack ends in `mark`, if any."""

    def __init__(self, scope: Scope, options: ViewOptions, mark: Frames = ()) -> None:
        self._scope, self._options, self._mark = scope, options, mark
        self._weights = Weights(3)
        self._samples = Samples()
        self._slices, self._over_time = scope.slices, Summed(scope.slices)

    def feed(self, batch: Batch) -> None:
        """Take a batch's slices and samples."""
        ended, samples = self._samples.feed(batch)
        samples = samples[self._scope.within(samples["time_ns"])]
        slices = self._scope.clip(ended)
        samples, owner = fallen_into(slices, samples)
        shared = np.bincount(owner, minlength=len(slices))
        whole = slices["end_ns"] - slices["begin_ns"]
        alone, when = self._slices.cut(slices[shared == 0])
        none = np.full(len(alone), NEVER, np.int32)
        self._add((alone, when), (none, none), alone["end_ns"] - alone["begin_ns"])
        sampled = slices[owner], self._slices.of(samples["time_ns"])
        self._add(sampled, (samples["stack"], samples["space"]), _shares(owner, whole, shared))

    def profile(self, naming: Naming) -> Profile:
        """Return the stacks."""
        return named(self._weights, self._frames, naming, (self._over_time, None))

    def _frames(self, key: Key, naming: Naming) -> Frames:
        return *sampled_frames(key, naming), *self._mark

    def _add(
        self,
        slices: tuple[NDArray[np.void], NDArray[np.int32]],
        stacks: tuple[NDArray[np.int32], NDArray[np.int32]],
        value_ns: NDArray[np.int64],
    ) -> None:
        """Add slices and the columns that they lie in, with stacks and their spaces."""
        ran, when = slices
        root = named_by(self._options.by, ran["thread"], ran["name"], self._scope.replay)
        self._over_time.add(self._weights.add([root, *stacks], value_ns), when, value_ns)


def _shares(owner: NDArray[np.int64], whole: NDArray[np.int64], shared: NDArray[np.int64]) -> NDArray[np.int64]:
    """Share each slice among its samples, without losing a nanosecond: the first ones get one more."""
    order = np.argsort(owner, kind="stable")
    starts = np.cumsum(shared) - shared
    rank = np.empty(len(owner), np.int64)
    rank[order] = np.arange(len(owner)) - starts[owner[order]]
    return whole[owner] // shared[owner] + (rank < whole[owner] % shared[owner])
