"""The walk along chains keeps to its bounds, and leaves nothing out."""

from collections import Counter

import numpy as np
import pytest

from offwake.analyzer.chain_tree import ENDS, ROOT, WAIT, Bounds, ChainTree
from offwake.analyzer.lives import DOING_BLOCKED, DOING_RUNNING, NO_HOP, Lives

DISK, WORKER = 0, 1
"""Hops: the first is no thread."""
ROUNDS = 50


def lives_of_a_worker() -> Lives:
    """Thread 0 runs for 1 ns and waits for the disk for 9, fifty times from 0 on."""
    return Lives(
        first=np.array([0, 2 * ROUNDS]),
        begin_ns=np.array([0]),
        birth=np.array([NO_HOP], np.int32),
        parent=np.array([NO_HOP], np.int32),
        end_ns=np.array([end for begin in range(0, 10 * ROUNDS, 10) for end in (begin + 1, begin + 10)]),
        doing=np.array([DOING_RUNNING, DOING_BLOCKED] * ROUNDS, np.int32),
        hop=np.array([NO_HOP, DISK] * ROUNDS, np.int32),
        waker=np.array([NO_HOP, NO_HOP] * ROUNDS, np.int32),
    )


def explained(tree: ChainTree) -> Counter[tuple[str, ...]]:
    """Return the nanoseconds of each chain."""
    chains: list[tuple[str, ...]] = []
    found: Counter[tuple[str, ...]] = Counter()
    for (parent, what), (value_ns, *_) in zip(tree.nodes.keys.tolist(), tree.sums.tolist(), strict=False):
        above = () if parent == ROOT else chains[parent]
        chains.append(() if parent == ROOT else (*above, ENDS[-1 - what] if what < 0 else ("disk", "worker")[what]))
        found[chains[-1]] += value_ns
    return +found


def waits(*windows: tuple[int, int]) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Return waits for the worker over these windows."""
    return np.array([(begin, end, end - begin, 0, WORKER, 0, False) for begin, end in windows], WAIT)


def tree(by_path: bool, **bounds: int) -> ChainTree:
    return ChainTree(lives_of_a_worker(), np.array([False, True]), by_path, Bounds(**bounds))


def test_a_walk_within_its_bounds_explains_everything() -> None:
    chains = tree(by_path=False)
    chains.explain(waits((0, 500), (0, 10)))
    chains.explain(waits((200, 300)))
    assert explained(chains) == {("worker", "[on CPU]"): 61, ("worker", "disk"): 549}


@pytest.mark.parametrize("steps_at_most", [0, 1, 7, 99])
def test_what_lies_behind_the_last_step_is_marked(steps_at_most: int) -> None:
    chains = tree(by_path=False, steps=steps_at_most)
    chains.explain(waits((0, 500), (490, 500)))
    found = explained(chains)
    assert found.total() == 510
    assert found["worker", "[truncated]"] > 0
    assert (found["worker", "disk"] > 0) == (steps_at_most > 0)


def test_a_path_that_takes_too_many_steps_is_marked_whole() -> None:
    chains = tree(by_path=True, steps=0)
    chains.explain(waits((0, 500)))
    assert explained(chains) == {("worker", "[truncated]"): 500}


def test_when_there_are_too_many_nodes_waits_are_followed_to_their_waker_alone() -> None:
    chains = tree(by_path=False, nodes=3)
    chains.explain(waits((0, 500)))
    last_round = {("worker", "disk"): 9, ("worker", "[on CPU]"): 1}
    assert explained(chains) == {**last_round, ("worker", "[truncated]"): 490}
    another = waits((0, 500))
    another["root"] = 1
    chains.explain(another)
    assert explained(chains) == {**last_round, ("worker", "[truncated]"): 990}
