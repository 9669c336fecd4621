"""Histograms: latencies in powers of two, by labels and by interval of time, with exact percentiles beside them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.groups import Groups
from offwake.analyzer.latencies import Latencies
from offwake.errors import UsageError

__all__ = ["PLAIN", "UNITS", "VALUE", "Buckets", "Histogram", "Histograms", "bounds", "histograms", "percentile"]

UNITS = {"nsecs": 1, "usecs": 1_000, "msecs": 1_000_000}
VALUE = "value"
"""In place of a unit: what is counted is no time."""
INTERVALS_AT_MOST = 10_000


@dataclass(frozen=True)
class Buckets:
    """How latencies are counted: by which labels, by which interval (None: the whole selected time), in which of UNITS.

    Without a unit the longest is taken of which the median has ten.
    """

    by: tuple[str, ...] = ()
    interval_ns: int | None = None
    unit: str | None = None


PLAIN = Buckets()


@dataclass(frozen=True)
class Histogram:
    """The latencies of one group in one interval.

    `by` holds the group's labels, `start_ns` is the interval's start since the recording's. `counts` is a number for each
    bucket up to the last that is used. Bucket 0 holds 0 and 1 units, bucket i from 2ⁱ units to below 2ⁱ⁺¹. Minimum, median,
    99th percentile (nearest rank) and maximum are those of the latencies, not of their buckets; None where only
    those are known.
    """

    by: dict[str, str]
    start_ns: int
    counts: list[int]
    min_ns: int | None = None
    p50_ns: int | None = None
    p99_ns: int | None = None
    max_ns: int | None = None

    @property
    def count(self) -> int:
        """How many latencies there are."""
        return sum(self.counts)


@dataclass(frozen=True)
class Histograms:
    """Histograms of one kind of latency, interval after interval, and within one by labels.

    `unit` is one of UNITS, or VALUE. Intervals without any latency have no histogram; `starts_ns` lists them all.
    `open` of the latencies are longer than is known.
    """

    of: str
    unit: str
    starts_ns: list[int]
    found: list[Histogram]
    interval_ns: int | None = None
    hidden_ns: int = 0
    open: int = 0

    @property
    def unit_ns(self) -> int:
        """The unit's length."""
        return UNITS.get(self.unit, 1)

    @property
    def total(self) -> int:
        """How many latencies there are in all histograms."""
        return sum(one.count for one in self.found)


def histograms(found: Latencies, options: Buckets = PLAIN) -> Histograms:
    """Count latencies by all their labels, and by interval. Raises UsageError for more than 10,000 intervals."""
    length_ns = max(found.end_ns - found.begin_ns, 1)
    step_ns = length_ns if options.interval_ns is None else options.interval_ns
    if -(-length_ns // step_ns) > INTERVALS_AT_MOST:
        raise UsageError(
            f"--interval: that would be more than {INTERVALS_AT_MOST:,} histograms; choose a longer interval"
        )
    starts_ns = range(found.begin_ns, found.begin_ns + length_ns, step_ns)
    unit = VALUE if not found.unit else "nsecs" if found.count is not None else options.unit or _unit(found.latency_ns)
    interval = np.minimum((found.ended_ns - found.begin_ns) // step_ns, len(starts_ns) - 1)
    group, labels = _groups(found)
    parts = []
    for chosen in _runs(interval, group, found.latency_ns):
        first, latency_ns = chosen[0], found.latency_ns[chosen]
        whose = labels[group[first]], starts_ns[interval[first]]
        if found.count is None:
            parts.append(_histogram(whose, latency_ns, UNITS.get(unit, 1)))
        else:
            parts.append(Histogram(*whose, _buckets(latency_ns, found.count[chosen])))
    parts.sort(key=lambda one: (one.start_ns, [_in_order(text) for text in one.by.values()]))
    return Histograms(found.of, unit, list(starts_ns), parts, options.interval_ns, found.hidden_ns, found.open)


def bounds(buckets: int) -> list[tuple[int, int]]:
    """Return from where on, and below what, each of so many buckets counts, in units."""
    return [(1 << bucket if bucket else 0, 2 << bucket) for bucket in range(buckets)]


def percentile(ascending_ns: NDArray[np.int64], percent: int) -> int:
    """Return the nearest rank of latencies in ascending order, at least one: one of them, never a value between two."""
    return int(ascending_ns[-(-len(ascending_ns) * percent // 100) - 1])


def _histogram(whose: tuple[dict[str, str], int], latency_ns: NDArray[np.int64], unit_ns: int) -> Histogram:
    """Make one of latencies in ascending order."""
    p50_ns, p99_ns = percentile(latency_ns, 50), percentile(latency_ns, 99)
    return Histogram(*whose, _buckets(latency_ns // unit_ns), int(latency_ns[0]), p50_ns, p99_ns, int(latency_ns[-1]))


def _buckets(units: NDArray[np.int64], weights: NDArray[np.int64] | None = None) -> list[int]:
    """Count numbers, each as often as its weight says, in powers of two."""
    power = np.maximum(np.frexp(units)[1] - 1, 0)
    power -= (power > 0) & (units >> power == 0)  # beyond 2^53 a number may have been rounded up to the next power
    counts: list[int] = np.bincount(power, weights).astype(np.int64).tolist()
    return counts


def _groups(found: Latencies) -> tuple[NDArray[np.int32], list[dict[str, str]]]:
    """Return the number of each latency's group, and each group's labels."""
    if not found.labels:
        return np.zeros(len(found.latency_ns), np.int32), [{}]
    groups = Groups(len(found.labels))
    group = groups.ids([label.codes.astype(np.int32) for label in found.labels.values()])
    named = [
        {name: label.name(code) for (name, label), code in zip(found.labels.items(), key, strict=True)}
        for key in groups.keys.tolist()
    ]
    return group, named


def _runs(
    interval: NDArray[np.int64], group: NDArray[np.int32], latency_ns: NDArray[np.int64]
) -> Iterator[NDArray[np.int64]]:
    """Yield the places of each interval's and group's latencies, the shortest first."""
    order = np.lexsort((latency_ns, group, interval))
    changes = (np.diff(interval[order]) != 0) | (np.diff(group[order]) != 0)
    yield from (run for run in np.split(order, np.flatnonzero(changes) + 1) if len(run))


def _unit(latency_ns: NDArray[np.int64]) -> str:
    median_ns = np.median(latency_ns) if len(latency_ns) else 0
    fitting = [unit for unit, size_ns in UNITS.items() if median_ns >= 10 * size_ns]
    return fitting[-1] if fitting else "usecs" if not median_ns else "nsecs"


def _in_order(text: str) -> tuple[int, str]:
    """Sort numbers by their value, before words."""
    return (int(text), "") if text.isascii() and text.isdigit() and len(text) < 20 else (1 << 64, text)
