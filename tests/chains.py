"""What the chain graph should show of the truth, by its definition and not by walking: who did what at each moment.

Both modes explain a wait by what its waker did meanwhile. By time, every moment of the wait is asked for on its own; by
path, the whole wait weighs on its wakers' last waits.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise

from tests.events import Stack
from tests.lives import Ending, Life
from tests.truth import Moments, ThreadTruth, pieces_of

__all__ = ["DOING", "MOST_HOPS", "chain_path", "chain_time"]

MOST_HOPS = 64
DOING = {"on_cpu": "[on CPU]", "run_queue": "[run queue]", "preempted": "[preempted]", "unknown": "[unknown]"}


def chain_time(threads: list[ThreadTruth]) -> Iterator[Moments]:
    """Yield the moments of all waits, each with what the waker did at that moment, or the waker's waker, and so on."""
    lives = _Lives(threads)
    edges = sorted({edge for _, piece in pieces_of(threads) for edge in (piece.begin_ns, piece.end_ns)})
    for name, piece in pieces_of(threads):
        if piece.ending:
            inside = edges[bisect_left(edges, piece.begin_ns) : bisect_right(edges, piece.end_ns)]
            for begin_ns, end_ns in pairwise(inside):  # nobody does anything new in between
                chain = lives.at(begin_ns, piece.ending, MOST_HOPS)
                yield Moments(begin_ns, end_ns, (name, *piece.stack, *chain))


def chain_path(threads: list[ThreadTruth]) -> Iterator[Moments]:
    """Yield all waits, each as a whole with the path of wakers that led to its end."""
    lives = _Lives(threads)
    for name, piece in pieces_of(threads):
        if piece.ending and piece.begin_ns < piece.end_ns:
            chain = lives.before(piece.begin_ns, piece.end_ns, piece.ending, MOST_HOPS)
            yield Moments(piece.begin_ns, piece.end_ns, (name, *piece.stack, *chain))


class _Lives:
    """Everybody's pieces, by whose they are."""

    def __init__(self, threads: list[ThreadTruth]) -> None:
        self._pieces = {thread.life: thread.pieces for thread in threads}
        self._begins = {life: [piece.begin_ns for piece in pieces] for life, pieces in self._pieces.items()}

    def at(self, time_ns: int, ending: Ending, hops: int) -> Stack:
        """Tell what ended a wait, and what that one did at a moment inside the wait."""
        if not hops:
            return ("[truncated]",)
        frames = ("--", *ending.frames)
        if not ending.by:
            return frames
        place = bisect_right(self._begins[ending.by], time_ns) - 1
        if place < 0:
            return *frames, *self.at(time_ns, _birth(ending.by), hops - 1)
        piece = self._pieces[ending.by][place]
        if piece.ending:
            return *frames, *self.at(time_ns, piece.ending, hops - 1)
        return *frames, DOING[piece.part]

    def before(self, begin_ns: int, end_ns: int, ending: Ending, hops: int) -> Stack:
        """Tell what ended a wait, and what ended that one's own last wait inside the window."""
        if not hops:
            return ("[truncated]",)
        frames = ("--", *ending.frames)
        if not ending.by:
            return frames
        pieces = self._pieces[ending.by]
        for piece in reversed(pieces):
            since_ns, until_ns = max(piece.begin_ns, begin_ns), min(piece.end_ns, end_ns)
            if since_ns < until_ns and piece.part == "unknown":
                return *frames, "[unknown]"
            if since_ns < until_ns and piece.ending:
                return *frames, *self.before(since_ns, until_ns, piece.ending, hops - 1)
        if begin_ns < pieces[0].begin_ns:
            return *frames, *self.before(begin_ns, pieces[0].begin_ns, _birth(ending.by), hops - 1)
        return frames


def _birth(life: Life) -> Ending:
    assert life.birth, "all others lived before the recording"
    return life.birth
