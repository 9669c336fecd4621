"""When a recording is to begin, as it can be said."""

from datetime import UTC, datetime, timedelta
from time import time

import pytest

from offwake.errors import UsageError
from offwake.recorder.start import Start

DAY = timedelta(days=1)


def parsed(text: str) -> float:
    start = Start.parse(text, None)
    assert start is not None
    return start.moment(0.0)


def test_seconds_since_1970() -> None:
    assert parsed("@4000000000.5") == 4_000_000_000.5


def test_iso_8601() -> None:
    assert parsed("2050-01-31T14:30:00Z") == datetime(2050, 1, 31, 14, 30, tzinfo=UTC).timestamp()
    assert parsed("2050-01-31T14:30:00+02:00") == datetime(2050, 1, 31, 12, 30, tzinfo=UTC).timestamp()
    assert parsed("2050-01-31T14:30") == datetime(2050, 1, 31, 14, 30).timestamp()


@pytest.mark.parametrize("text", ["00:00", "9:05", "14:30:15", "23:59:59"])
def test_the_time_of_day_is_the_next_one(text: str) -> None:
    moment = parsed(text)
    shown = datetime.fromtimestamp(moment)
    hour, minute, *second = map(int, text.split(":"))
    assert (shown.hour, shown.minute, shown.second) == (hour, minute, second[0] if second else 0)
    assert datetime.now() - timedelta(minutes=1) < shown <= datetime.now() + DAY


@pytest.mark.parametrize("text", ["", "soon", "25:00", "14:60", "@", "@x", "@nan", "2050-13-01", "2050-01-31T25:00"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="--start-at"):
        Start.parse(text, None)


@pytest.mark.parametrize("text", ["@0", "@-5", "1999-12-31T23:59:59Z"])
def test_the_past_is_over(text: str) -> None:
    with pytest.raises(UsageError, match="has been already"):
        Start.parse(text, None)


def test_neither_and_both() -> None:
    assert Start.parse(None, None) is None
    with pytest.raises(UsageError, match="one of them"):
        Start.parse("@4000000000", 10)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 100_000])
def test_what_cannot_be_aligned_to(seconds: float) -> None:
    with pytest.raises(UsageError, match="--align"):
        Start.parse(None, seconds)


def test_aligned_is_the_next_multiple() -> None:
    start = Start.parse(None, 10)
    assert start is not None
    assert start.moment(1_000_000_001.5) == 1_000_000_010
    assert start.moment(1_000_000_009.999) == 1_000_000_010
    assert start.moment(1_000_000_010) == 1_000_000_020
    assert start.moment(time()) > time()
