"""Budgets: sizes as operators write them, and averages that a burst does not exceed."""

import os
from pathlib import Path

import pytest

from offwake.errors import OutputError, UsageError
from offwake.recorder.output.budget import Budgets, BudgetWatch, Disk, parse_size, size_text

SECOND_NS = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "size"),
    [("2G", 2 * 10**9), ("500K", 500_000), ("1.5G", 1_500_000_000), ("500m", 500 * 10**6), ("1TB", 10**12), ("7", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text, "--max-size") == size
    assert parse_size(size_text(size).replace(" ", ""), "") == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "1,5G", "2GiB", "1e9", "5%", "1G 2G", "nan"])
def test_what_is_no_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--max-size"):
        parse_size(text, "--max-size")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("10K", 50, "5%"), "--max-size 10K"),
        (("2G", 0, "5%"), "--max-cpu 0"),
        (("2G", float("nan"), "5%"), "--max-cpu nan"),
        (("2G", 50, "100%"), "--reserve 100%"),
        (("2G", 50, "x%"), "--reserve x%"),
        (("2G", 50, "-1%"), "--reserve -1%"),
        (("2G", 50, "some"), "--reserve some"),
    ],
)
def test_options_that_make_no_sense(options: tuple[str, float, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Budgets.parse(*options)


def test_defaults() -> None:
    assert Budgets.parse("2G", 50, "5%") == Budgets()


def of_a_pipe(budgets: Budgets) -> BudgetWatch:
    read, write = os.pipe()
    try:
        return BudgetWatch(budgets, Disk(write, budgets))
    finally:
        os.close(read)
        os.close(write)


def test_a_file_keeps_room_for_names() -> None:
    budgets = Budgets(max_bytes=80 * 10**6)
    watch = of_a_pipe(budgets)
    assert budgets.names_bytes == 10 * 10**6
    assert watch.exceeded(0, 0.0, 70 * 10**6 - 1) is None
    assert watch.exceeded(0, 0.0, 70 * 10**6) == "the file reached --max-size 80 MB"


def test_a_burst_of_cpu_is_no_reason_to_stop() -> None:
    """Two CPUs for two seconds, then hardly any: 40 % of one over any ten seconds."""
    watch = of_a_pipe(Budgets())
    for second in range(60):
        assert watch.exceeded(second * SECOND_NS, 2.0 * min(second, 2), 0) is None


def test_lasting_use_of_cpu_is() -> None:
    watch = of_a_pipe(Budgets(max_cpu_percent=50))
    said = [watch.exceeded(second * SECOND_NS, 0.1 * second, 0) for second in range(20)]
    assert not any(said)
    said = [watch.exceeded(second * SECOND_NS, 2 + 0.9 * (second - 20), 0) for second in range(20, 31)]
    first = next(filter(None, said))
    assert first == "the recorder took 58 % of a CPU over 10 seconds, more than --max-cpu 50"


def test_a_disk_with_less_than_the_reserve_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "x", "w") as file:
        Disk(file.fileno(), Budgets(reserve_percent=0)).require_room("x")
        with pytest.raises(OutputError, match="--reserve 1000 TB"):
            Disk(file.fileno(), Budgets(reserve_percent=0, reserve_bytes=10**15)).require_room("x")
