"""The statistics of comparisons, held against tables, textbooks and drawing at random."""

import numpy as np
import pytest

from offwake.analyzer.variation import Varying, _beyond, _spread, adjusted, p_values


@pytest.mark.parametrize(
    ("t", "freedom", "p"),
    [
        (12.706, 1, 0.05),
        (2.228, 10, 0.05),
        (3.169, 10, 0.01),
        (2.042, 30, 0.05),
        (3.460, 60, 0.001),
        (0, 5, 1),
        (1, 1, 0.5),
    ],
)
def test_students_t_is_that_of_the_tables(t: float, freedom: float, p: float) -> None:
    assert _beyond(t, freedom) == pytest.approx(p, rel=2e-3)


def test_benjamini_and_hochbergs_own_example() -> None:
    """The fifteen p-values of their paper of 1995: at 5 % the first four stand out."""
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    shuffled = np.random.default_rng(2).permutation(15)
    assert set(np.array(p)[shuffled][adjusted(np.array(p)[shuffled]) <= 0.05]) == set(p[:4])


def test_the_closed_form_is_what_drawing_blocks_at_random_finds() -> None:
    """Moving blocks, drawn 20,000 times, from an autocorrelated series of which the block length is known."""
    random = np.random.default_rng(5)
    series = np.zeros(128)
    for number in range(1, 128):
        series[number] = 0.6 * series[number - 1] + random.normal()
    spread = _spread(Varying(series[None], 128.0))
    length = round(1.5 * 128 / (spread.freedom[0] + 1))
    starts = random.integers(0, 129 - length, (20_000, 128 // length))
    drawn = series[starts[..., None] + np.arange(length)].reshape(20_000, -1).mean(axis=1)
    alike = 1 + spread.variance[0] * 0  # one figure
    assert length > 4 and alike == 1
    # Of the mean's variance; the closed form also counts what blocks cannot see, at most a quarter.
    assert drawn.var() * length * (128 // length) <= spread.variance[0] * 1.05
    assert spread.variance[0] <= drawn.var() * length * (128 // length) * 1.25 * 128 / (128 - length) * 1.05


def test_steady_figures_differ_and_bursts_do_not() -> None:
    random = np.random.default_rng(1)
    steady = random.normal(100, 5, (1, 128))
    burst = np.where(np.arange(128) // 16 % 4 == 0, 400.0, 0.0)[None]
    later = np.roll(burst, 16) * 1.2
    assert p_values(Varying(steady, 10), Varying(steady * 1.2, 10))[0] < 1e-9
    assert p_values(Varying(burst, 10), Varying(later, 10))[0] > 0.3


def test_a_side_that_was_too_short_to_see_a_burst_does_not_count_as_steady() -> None:
    calm, bursts = np.full((1, 128), 1.0), np.ones((1, 128))
    bursts[0, ::16] = 30
    assert p_values(Varying(calm, 1), Varying(bursts, 16))[0] > 0.05


def test_nothing_differs_from_itself() -> None:
    nothing, constant = Varying(np.zeros((1, 128)), 1), Varying(np.full((1, 128), 3.0), 1)
    assert p_values(nothing, nothing)[0] == p_values(constant, constant)[0] == 1
