"""What functions that were compiled at run time are called, by maps that a process, or somebody else, wrote."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from offwake.recorder.binaries.perf_map import functions_in_perf_map

NOBODY = 65534


@pytest.fixture
def named() -> Iterator[Callable[..., list[list[Any]]]]:
    """Returns what addresses lie in by a map of this process that has these lines."""
    path = Path(f"/tmp/perf-{os.getpid()}.map")

    def of(lines: list[str], addresses: list[int], owner: int = 0) -> list[list[Any]]:
        path.write_text("".join(f"{line}\n" for line in lines))
        os.chown(path, owner, -1)
        return functions_in_perf_map(os.getpid(), addresses)

    yield of
    path.unlink(missing_ok=True)


def test_each_address_has_its_function(named: Callable[..., list[list[Any]]]) -> None:
    lines = ["1000 100 one", "1100 80 two with spaces", "nonsense", "2000 10 three", "9 9", "3000 zz four"]
    assert named(lines, [0xFFF, 0x1000, 0x10FF, 0x1100, 0x1180, 0x200F, 0x2010]) == [
        [0x1000, 0x100, "one"],
        [0x1100, 0x80, "two with spaces"],
        [0x2000, 0x10, "three"],
    ]


def test_where_code_has_taken_the_place_of_other_code_the_last_line_is_true(
    named: Callable[..., list[list[Any]]],
) -> None:
    old_and_new = named(["1100 100 old", "1000 400 new"], [0x1150, 0x1250])
    assert old_and_new == [[0x1000, 0x400, "new"]]
    split = named(["1000 400 around", "1100 100 inside"], [0x1050, 0x1150, 0x1250])
    assert [name for *_, name in split] == ["around", "inside", "around"]
    assert all(at + size <= after for (at, size, _), (after, *_) in zip(split, split[1:], strict=False))
    for address, (start, size, _) in zip([0x1050, 0x1150, 0x1250], split, strict=True):
        assert start <= address < start + size


def test_one_that_somebody_else_wrote_is_not_believed(named: Callable[..., list[list[Any]]]) -> None:
    assert named(["1000 100 one"], [0x1000], owner=NOBODY) == []


def test_lines_that_all_cover_the_same_address_are_not_kept(named: Callable[..., list[list[Any]]]) -> None:
    lines = [f"{start:x} ffffffff x{start}" for start in range(1, 100_000)]
    assert named(lines, [0x100000]) == [[99_999, 0xFFFFFFFF, "x99999"]]
