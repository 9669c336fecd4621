"""Every load with every ring: each event is in the file or counted, and memory stays where it was."""

from pathlib import Path

import pytest

from benchmarks.loads import DEFAULT_KIB, LOADS, RING_KIB, Load, build, run

MEMORY_MB = 64  # beside the rings


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("load"))


@pytest.mark.parametrize("ring_kib", (*RING_KIB, DEFAULT_KIB))
@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
def test_no_event_is_unaccounted_for(program: Path, load: Load, ring_kib: int) -> None:
    one = run(program, load, ring_kib)
    assert one.attempted == one.stored + one.failed
    assert one.stored == one.decoded
    assert one.attempted > 2 * load.round_trips, "the load is in it"
    assert one.grown_mb <= MEMORY_MB
    if ring_kib == DEFAULT_KIB and (load.rate or not load.round_trips):
        assert one.failed == 0
