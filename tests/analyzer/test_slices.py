"""Time slices: each holds what the same view shows of that time alone, and all of them hold everything."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from offwake.analyzer import query
from offwake.analyzer.recording import Recording
from offwake.analyzer.select import Selection
from offwake.analyzer.slices import Slices
from offwake.analyzer.views import DEFAULTS, ViewOptions
from tests.analyzer.recorded import ALL, recorded, weights_of
from tests.events import Stack
from tests.programs import Block, Program, Run, Wake, Workload
from tests.simulator import Simulator

SLICES = 13
WORKLOAD = Workload(
    programs=(
        Program("nginx", (Block(), Run(40))),
        Program("postgres", (Run(120), Wake(0), Block(timeout_ns=2_000, listens=False))),
        Program("worker", (Run(700), Wake(1), Block(timeout_ns=90, listens=False))),
        Program("sleeper", (Block(timeout_ns=None, listens=False),)),
    ),
    cpus=2,
    seed=3,
    warm_up_ns=500,
    length_ns=30_000,
)
EXACT = {
    "off-cpu": DEFAULTS,
    "off-cpu, split": ViewOptions(split=True),
    "off-wake": DEFAULTS,
    "wakeup": DEFAULTS,
    "chain": DEFAULTS,
    "chain, by path": ViewOptions(chain="path"),
    "run-queue": DEFAULTS,
}


@pytest.fixture(scope="module")
def recording() -> Recording:
    return recorded(Simulator(WORKLOAD).trace)


def sliced(recording: Recording, view: str, selection: Selection, options: ViewOptions) -> list[Counter[Stack]]:
    """Return what stacks weighed in each slice."""
    found = query.over_time(recording, view, selection, options, query.Cut(SLICES)).over_time
    weights = [Counter[Stack]() for _ in range(SLICES)]
    for stack, number, value_ns in zip(
        found.stack.tolist(), found.slice.tolist(), found.value_ns.tolist(), strict=True
    ):
        weights[number][found.stacks[stack]] += value_ns
    return [+each for each in weights]


@pytest.mark.parametrize("name", EXACT)
def test_a_slice_is_what_the_view_shows_of_its_time(recording: Recording, name: str) -> None:
    view, options = name.split(",")[0], EXACT[name]
    edges = [recording.duration_ns * number // SLICES for number in range(SLICES + 1)]
    for number, found in enumerate(sliced(recording, view, ALL, options)):
        alone = replace(ALL, begin_ns=edges[number], end_ns=edges[number + 1])
        assert found == weights_of(query.profile(recording, view, alone, options))
        assert found


@pytest.mark.parametrize("view", query.VIEWS)
def test_slices_add_up_to_the_view_in_any_selection(recording: Recording, view: str) -> None:
    for selection in (
        ALL,
        replace(ALL, begin_ns=7_001, end_ns=19_000),
        replace(ALL, min_ns=500),
        replace(ALL, ended=True),
    ):
        added = sum(sliced(recording, view, selection, DEFAULTS), Counter[Stack]())
        assert added == weights_of(query.profile(recording, view, selection))


def test_what_is_chosen_and_hidden_of_stacks_is_so_in_every_slice(recording: Recording) -> None:
    selection, options = replace(ALL, grep="postgres|worker"), ViewOptions(hide="schedule|^do_")
    added = sum(sliced(recording, "off-wake", selection, options), Counter[Stack]())
    assert added == weights_of(query.profile(recording, "off-wake", selection, options))
    assert added and not any("schedule" in name for stack in added for name in stack)


def test_what_spans_slices_is_shared_by_time() -> None:
    slices = Slices(100, 200, 4)
    parts = slices.pieces(np.array([100, 120, 149, 150, 199]), np.array([100, 180, 150, 200, 200]))
    assert parts.row.tolist() == [0, 1, 1, 1, 1, 2, 3, 3, 4]
    assert parts.slice.tolist() == [0, 0, 1, 2, 3, 1, 2, 3, 3]
    assert (parts.end_ns - parts.begin_ns).tolist() == [0, 5, 25, 25, 5, 1, 25, 25, 1]
