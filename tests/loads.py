"""Made-up loads for comparisons: stacks that wait at random, steadily or in bursts, and what an analyzer makes of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compare import SLICES, Side
from offwake.analyzer.profile import Profile
from offwake.analyzer.slices import OverTime, Slices

__all__ = ["LOADS", "Load", "path", "side"]

SECOND = 1_000_000_000
STEP_NS = 10_000_000


@dataclass(frozen=True)
class Load:
    """Waits at `stacks` places of a tree: how many a second in all, and how they come.

    `felt_s` is for how long a burst is felt (0: waits come one by one, whatever came before) and `depth` how strongly;
    `heavy` says that a few waits are much longer than the others.
    """

    stacks: int
    rate: float
    felt_s: float = 0.0
    depth: float = 0.0
    heavy: bool = False


LOADS = {
    "steady, few stacks": Load(8, 4_000),
    "steady, many stacks": Load(300, 8_000),
    "bursts of 50 ms": Load(20, 8_000, felt_s=0.05, depth=0.5),
    "slow swings of 300 ms": Load(20, 8_000, felt_s=0.3, depth=0.3),
    "a few very long waits": Load(20, 8_000, heavy=True),
}


def side(load: Load, seconds: float, random: np.random.Generator, change: dict[int, float] | None = None) -> Side:
    """Record `seconds` of a load, whose waits at some stacks are so many times as long. Stacks have unlike shares."""
    arrivals = _arrivals(load, seconds, random)
    share = 1 / np.arange(2, load.stacks + 2)
    which = random.choice(load.stacks, len(arrivals), p=share / share.sum())
    mean_ns = np.random.default_rng(load.stacks).uniform(0.3e6, 1.5e6, load.stacks)
    times = random.pareto(2.5, len(arrivals)) * 1.5 if load.heavy else random.exponential(1, len(arrivals))
    factor = np.ones(load.stacks)
    for stack, more in (change or {}).items():
        factor[stack] = more
    end_ns = round(seconds * SECOND)
    ends = np.minimum(arrivals + (mean_ns * factor)[which] * times, end_ns).astype(np.int64)
    parts = Slices(0, end_ns, SLICES).pieces(arrivals, np.maximum(ends, arrivals))
    frames = [path(stack) for stack in range(load.stacks)]
    profile = Profile("off-cpu")
    sums = np.bincount(which, ends - arrivals, load.stacks).astype(np.int64)
    for names, value_ns in zip(frames, sums.tolist(), strict=True):
        profile.add(names, value_ns)
    profile.over_time = OverTime(frames, which[parts.row].astype(np.int32), parts.slice, parts.end_ns - parts.begin_ns)
    return Side(profile, seconds)


def path(stack: int) -> tuple[str, ...]:
    """Return a stack's frames: few of them near the root, all of them at the leaves."""
    return f"program-{stack % 3}", "main", f"work-{stack % 7}", f"step-{stack}", f"sys_{stack % 5}_[k]", "schedule_[k]"


def _arrivals(load: Load, seconds: float, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw when waits begin. How many come swings, and one step's swing decays by the next ones."""
    steps = round(seconds * SECOND / STEP_NS)
    swing = np.zeros(steps)
    if load.felt_s:
        decay = np.exp(-STEP_NS / SECOND / load.felt_s)
        noise = random.normal(size=steps) * np.sqrt(1 - decay**2)
        value = random.normal()
        for step in range(steps):
            swing[step] = value = decay * value + noise[step]
    rate = load.rate * STEP_NS / SECOND * np.exp(load.depth * swing - load.depth**2 / 2)
    counts = random.poisson(rate)
    begins = np.repeat(np.arange(steps) * STEP_NS, counts) + random.integers(0, STEP_NS, counts.sum())
    return np.asarray(np.sort(begins), np.int64)
