"""`waits-for`: which thread waited for which, how long, and which of them wait in a circle.

A thread waited for whoever ended its wait: another thread, or an interrupt's source. Threads wait in a circle when each
can be reached from the other along waits that are a tenth or more of the time that the waiter was blocked in waits which
ended: they hand work to one another, or fight for the same thing.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.completions import without_time
from offwake.analyzer.groups import Groups, Weights
from offwake.analyzer.intervals import blocked_ns, is_blocked
from offwake.analyzer.naming import Naming
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table
from offwake.analyzer.wakers import WAKER_WIDTH, waker_columns

if TYPE_CHECKING:
    from offwake.analyzer.replay import Replay

__all__ = ["table"]

COLUMNS = (
    Column("comm", "text"),
    Column("tid", "id"),
    Column("pid", "id"),
    Column("waited_for", "text"),
    Column("waited_for_tid", "id"),
    Column("waited_for_pid", "id"),
    Column("waits", "count"),
    Column("blocked_ns", "ns"),
    Column("longest_ns", "ns"),
    Column("share", "share"),
    Column("circle", "id"),
)
PART_OF_A_CIRCLE = 0.1
OPEN = "[open]"
Edge = tuple[int, int | str]
"""The place of the thread that waited, and that of the thread it waited for or the name of what else ended the wait."""


def table(scope: Scope) -> Table:
    """Return a row for every thread and what it waited for: threads, then sources, then waits that did not end.

    Of each the longest come first. `share` is of the thread's blocked time.
    """
    replay, collected = scope.replay, _Waits()
    for batch in replay:
        collected.add(scope.waits(batch.activity.intervals, is_blocked, blocked_ns)[0])
    edges = collected.edges(replay.naming)
    of_waiter: dict[int, int] = defaultdict(int)
    ended: dict[int, int] = defaultdict(int)
    for (waiter, other), (_, value_ns, _) in edges.items():
        of_waiter[waiter] += value_ns
        ended[waiter] += value_ns if other != OPEN else 0
    circles = _circles(
        (waiter, other)
        for (waiter, other), (_, value_ns, _) in edges.items()
        if isinstance(other, int) and waiter != other and value_ns >= PART_OF_A_CIRCLE * ended[waiter] > 0
    )
    rows: list[dict[str, Any]] = []
    for (waiter, other), (waits, value_ns, longest_ns) in edges.items():
        inside = isinstance(other, int) and other != waiter and circles.get(waiter) == circles.get(other)
        rows.append(
            dict(zip(("comm", "tid", "pid"), _who(waiter, replay), strict=True))
            | dict(zip(("waited_for", "waited_for_tid", "waited_for_pid"), _who(other, replay), strict=True))
            | {"waits": waits, "blocked_ns": value_ns, "longest_ns": longest_ns}
            | {"share": round(value_ns / max(of_waiter[waiter], 1), 6)}
            | {"circle": circles.get(waiter) if inside else None}
        )
    rows.sort(key=lambda row: (_kind(row), -row["blocked_ns"], row["tid"], row["waited_for_tid"] or 0))
    return Table("waits-for", COLUMNS, rows)


def _kind(row: dict[str, Any]) -> int:
    """Threads that waited for threads come first, then waits for sources, and those that did not end."""
    return 2 if row["waited_for"] == OPEN else int(row["waited_for_tid"] is None)


class _Waits:
    """Blocked time by waiting thread and whoever ended the wait, and the longest wait of each."""

    def __init__(self) -> None:
        self._wakers, self._weights = Groups(WAKER_WIDTH), Weights(3)
        self._longest_ns = np.zeros(256, np.int64)

    def add(self, waits: NDArray[np.void]) -> None:
        value_ns = blocked_ns(waits)
        groups = self._weights.add([waits["thread"], waits["waker"], self._wakers.ids(waker_columns(waits))], value_ns)
        while len(self._longest_ns) < len(self._weights.groups):
            self._longest_ns = np.concatenate((self._longest_ns, np.zeros_like(self._longest_ns)))
        np.maximum.at(self._longest_ns, groups, value_ns)

    def edges(self, naming: Naming) -> dict[Edge, tuple[int, int, int]]:
        """Return waits, blocked and longest time (ns) from each thread to what it waited for."""
        found: dict[Edge, tuple[int, int, int]] = {}
        wakers = self._wakers.keys.tolist()
        sums = zip(self._weights.count.tolist(), self._weights.value_ns.tolist(), self._longest_ns.tolist(), strict=False)
        for (waiter, place, which), (waits, value_ns, longest_ns) in zip(
            self._weights.groups.keys.tolist(), sums, strict=True
        ):
            waker = wakers[which]
            edge = waiter, place if naming.is_thread(waker) else without_time(naming.waker(waker)[-1])
            before = found.get(edge, (0, 0, 0))
            found[edge] = before[0] + waits, before[1] + value_ns, max(before[2], longest_ns)
        return found


def _who(who: int | str, replay: "Replay") -> tuple[str, int | None, int | None]:
    """Return the name, thread and process of whoever waited or was waited for."""
    if isinstance(who, str):
        return who, None, None
    thread = replay.timeline.threads[who]
    name = replay.names.texts[thread["name"]] if thread["name"] >= 0 else ""
    return name, int(thread["tid"]), int(thread["tgid"])


def _circles(edges: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Number the circles: of each thread that is in one, which. Two threads share one if each is reached from the other.

    Kosaraju's algorithm: a walk over the edges gives an order, a walk back over them in that order the circles.
    """
    onward: dict[int, list[int]] = defaultdict(list)
    backward: dict[int, list[int]] = defaultdict(list)
    for waiter, other in edges:
        onward[waiter].append(other)
        backward[other].append(waiter)
    finished: list[int] = []
    seen: set[int] = set()
    for thread in sorted(onward):
        finished += _walk(thread, onward, seen)
    circles: dict[int, int] = {}
    seen = set()
    for thread in reversed(finished):
        members = _walk(thread, backward, seen)
        if len(members) > 1:
            circles |= dict.fromkeys(members, len(set(circles.values())) + 1)
    return circles


def _walk(start: int, edges: dict[int, list[int]], seen: set[int]) -> list[int]:
    """Return what is reached from a thread and was not seen before, each after all that it leads to."""
    if start in seen:
        return []
    seen.add(start)
    done, path = [], [(start, iter(edges.get(start, ())))]
    while path:
        thread, others = path[-1]
        following = next((other for other in others if other not in seen), None)
        if following is None:
            done.append(path.pop()[0])
        else:
            seen.add(following)
            path.append((following, iter(edges.get(following, ()))))
    return done
