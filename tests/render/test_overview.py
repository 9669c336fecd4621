"""The timeline's lanes: as high as what is beside them says."""

import numpy as np
import pytest

from offwake.analyzer.columns import Columns
from offwake.analyzer.overview import SERIES, Overview
from offwake.analyzer.render.overview import draw


@pytest.mark.parametrize(("end_ns", "most"), [(2_050, "100,000,000"), (2_600, "150,000,000"), (3_000, "100,000,000")])
def test_a_short_last_column_does_not_flatten_the_others(end_ns: int, most: str) -> None:
    """Of three columns of a microsecond, the last one ends with the recording."""
    sums = {name: np.zeros(3, np.int64) for name in SERIES}
    sums["events"] += [100, 50, 90]
    assert f"events/s ≤ {most}<" in draw(Overview(Columns(0, 1_000, 3), end_ns, 1, sums))


def test_a_recording_of_one_short_column_has_a_scale() -> None:
    sums = {name: np.ones(1, np.int64) for name in SERIES}
    assert "events/s ≤ 100,000,000<" in draw(Overview(Columns(0, 1_000, 1), 10, 1, sums))
