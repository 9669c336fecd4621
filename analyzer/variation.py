"""Variation: whether two recordings differ by more than each of them varies by itself.

Slices of time that follow each other are alike: a burst lasts for many of them. So a mean's error is that of a block
bootstrap, which draws whole blocks of slices. Drawn at random, even a hundred thousand times, it could not tell apart the
small probabilities that Benjamini and Hochberg ask for among hundreds of frames. But the error that it would find, were it
drawn for ever, has a closed form: the spread of the means of all blocks (Künsch, 1989; Lahiri, Resampling Methods for
Dependent Data, 3.1). The difference of two means, in units of that, is held against Student's t. So the same files always
have the same answer.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Varying", "adjusted", "p_values"]

Floats = NDArray[np.float64]

BLOCKS_AT_LEAST = 6
"""So many blocks without overlap must fit: from fewer, nothing can be said about how much their means vary."""
BLOCK = 4
"""Length of a block, in units of how long what happens in a slice is felt."""
WINDOW = 5
"""The sum of autocorrelations ends at so many times itself (Sokal, Monte Carlo Methods in Statistical Mechanics, 3)."""


@dataclass(frozen=True)
class Varying:
    """R figures in S slices (float64, R × S) whose means are compared, in a time of `seconds`, each mean `times` itself."""

    slices: Floats
    seconds: float
    times: float = 1.0

    @property
    def value(self) -> Floats:
        """The figures of the whole time (float64, R)."""
        return np.asarray(self.slices.mean(axis=1) * self.times)


@dataclass(frozen=True)
class _Spread:
    """The variance of a mean over one second (float64, R), and how well it is known: degrees of freedom."""

    variance: Floats
    freedom: Floats


def p_values(before: Varying, after: Varying) -> Floats:
    """Return the probability, for each of R figures, of so large a difference between two times of the same load.

    Of the same load, both sides vary alike: their spreads are pooled, so that one that was too short to see a burst does not
    count as steady. Where they are not alike, the larger error of the two ways counts.
    """
    left, right = _spread(before), _spread(after)
    here, there = before.times**2 / before.seconds, after.times**2 / after.seconds
    seconds = before.seconds + after.seconds
    pooled = (left.variance * before.seconds + right.variance * after.seconds) / seconds * (here + there)
    own = left.variance * here, right.variance * there
    error = np.sqrt(np.maximum(pooled, sum(own)))
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = sum(own) ** 2 / (own[0] ** 2 / left.freedom + own[1] ** 2 / right.freedom)  # Welch and Satterthwaite
        t = np.abs(after.value - before.value) / error
    freedom = np.nan_to_num(freedom, nan=1.0)
    return np.array(
        [_beyond(*pair) for pair in zip(np.nan_to_num(t, posinf=1e9).tolist(), freedom.tolist(), strict=True)]
    )


def adjusted(p: Floats) -> Floats:
    """Return for each of several tests the least level at which it stands out, after Benjamini and Hochberg (1995)."""
    order = np.argsort(p)[::-1]
    found = np.empty(len(p))
    found[order] = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    return np.minimum(found, 1)


def _spread(of: Varying) -> _Spread:
    """Spread of block means, for blocks four times as long as slices are alike, each row of figures by its own."""
    rows, count = of.slices.shape
    centred = of.slices - of.slices.mean(axis=1, keepdims=True)
    alike = _alike(centred)
    blocks = np.clip(np.ceil(BLOCK * alike), 1, max(count // BLOCKS_AT_LEAST, 1)).astype(int)
    sums = np.concatenate((np.zeros((rows, 1)), np.cumsum(centred, axis=1)), axis=1)
    variance = np.empty(rows)
    for length in np.unique(blocks).tolist():
        mine = blocks == length
        means = (sums[mine, length:] - sums[mine, :-length]) / length
        variance[mine] = length * (means**2).mean(axis=1) * count / max(count - length, 1)
    variance *= 1 + (alike - 1) / blocks  # what blocks so short cannot see of it
    # Overlapping blocks tell half as much again as those that do not (Meketon and Schmeiser, 1984).
    freedom = np.where(blocks > 1, 1.5 * count / blocks - 1, count - 1)
    return _Spread(variance * of.seconds / count, np.maximum(freedom, 1.0))


def _alike(centred: Floats) -> Floats:
    """Return for how many slices what happens in one is felt: 1 and twice the sum of autocorrelations, at least 1."""
    rows, count = centred.shape
    if count < 3:
        return np.ones(rows)
    spectrum = np.abs(np.fft.rfft(centred, 2 * count, axis=1)) ** 2
    covariance = np.fft.irfft(spectrum, axis=1)[:, :count]
    correlation = covariance[:, 1:] / np.where(covariance[:, :1] > 0, covariance[:, :1], 1)
    felt = 1 + 2 * np.cumsum(correlation, axis=1)
    enough = np.arange(1, count) >= WINDOW * felt
    last = np.where(enough.any(axis=1), enough.argmax(axis=1), count - 2)
    return np.asarray(np.maximum(felt[np.arange(rows), last], 1))


def _beyond(t: float, freedom: float) -> float:
    """Return how probable it is that Student's t, of so many degrees of freedom, lies at least so far from 0."""
    x = freedom / (freedom + t * t)
    a, b = freedom / 2, 0.5
    if x >= 1:
        return 1.0
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log) * _fraction(a, b, x) / a
    return 1 - math.exp(log) * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function (Abramowitz and Stegun, 26.5.8), after Lentz."""
    upper, lower = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = lower
    for m in range(1, 200):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            lower, upper = 1 / (1 + step * lower), 1 + step / upper
            value *= lower * upper
        if abs(lower * upper - 1) < 1e-12:
            break
    return value
