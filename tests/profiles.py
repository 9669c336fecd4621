"""What the views of intervals should show of the truth: every moment of every thread, and the stack that it belongs to."""

from collections.abc import Iterator

from tests.truth import Moments, Piece, ThreadTruth, pieces_of

__all__ = ["off_cpu", "off_cpu_split", "off_wake", "run_queue", "wakeup", "wall"]


def off_cpu(threads: list[ThreadTruth]) -> Iterator[Moments]:
    """Yield everything off-CPU that is known."""
    for name, piece in pieces_of(threads):
        if piece.part == "preempted":
            yield Moments(piece.begin_ns, piece.end_ns, (name, "[preempted]"))
        elif piece.part in ("blocked", "run_queue"):
            yield Moments(piece.begin_ns, piece.end_ns, (name, *(piece.stack or ("[run queue]",))))


def off_cpu_split(threads: list[ThreadTruth]) -> Iterator[Moments]:
    """Yield the same, and tell in the last frame what it was."""
    cpus = _Cpus(threads)
    for name, piece in pieces_of(threads):
        if piece.part == "run_queue":
            for begin_ns, end_ns, runs in cpus.meanwhile(piece):
                yield Moments(begin_ns, end_ns, (name, *piece.stack, "[run queue]" if runs else "[wake-up]"))
        elif piece.part in ("blocked", "preempted"):
            yield Moments(piece.begin_ns, piece.end_ns, (name, *piece.stack, f"[{piece.part}]"))


def off_wake(threads: list[ThreadTruth]) -> Iterator[Moments]:
    """Yield blocked time, with what ended it."""
    for name, piece in pieces_of(threads):
        if piece.ending:
            yield Moments(piece.begin_ns, piece.end_ns, (name, *piece.stack, "--", *piece.ending.frames))


def wakeup(threads: list[ThreadTruth]) -> Iterator[Moments]:
    """Yield blocked time: what ended it, and whose it was."""
    for name, piece in pieces_of(threads):
        if piece.ending:
            yield Moments(piece.begin_ns, piece.end_ns, (piece.ending.name, *piece.ending.stack[::-1], name))


def run_queue(threads: list[ThreadTruth]) -> Iterator[Moments]:
    """Yield the time that threads waited for a CPU, with who ran there meanwhile."""
    cpus = _Cpus(threads)
    for name, piece in pieces_of(threads):
        if piece.part in ("run_queue", "preempted"):
            for begin_ns, end_ns, runs in cpus.meanwhile(piece):
                if piece.part == "preempted":
                    yield Moments(begin_ns, end_ns, (name, "[preempted]", runs or "[idle]"))
                else:
                    yield Moments(begin_ns, end_ns, (name, "[run queue]", runs) if runs else (name, "[wake-up]"))


def wall(threads: list[ThreadTruth]) -> Iterator[Moments]:
    """Yield all time: on a CPU without the sampled frames, unknown time without a name."""
    yield from off_cpu_split(threads)
    for name, piece in pieces_of(threads):
        if piece.part == "on_cpu":
            yield Moments(piece.begin_ns, piece.end_ns, (name, "[on CPU]"))
        elif piece.part == "unknown":
            yield Moments(piece.begin_ns, piece.end_ns, ("[unknown]",))


class _Cpus:
    """Who ran on each CPU, and when."""

    def __init__(self, threads: list[ThreadTruth]) -> None:
        self._slices: dict[int | None, list[tuple[int, int, str]]] = {}
        for name, piece in pieces_of(threads):
            if piece.part == "on_cpu" and piece.begin_ns < piece.end_ns:
                self._slices.setdefault(piece.cpu, []).append((piece.begin_ns, piece.end_ns, name))
        for slices in self._slices.values():
            slices.sort()

    def meanwhile(self, piece: Piece) -> Iterator[tuple[int, int, str]]:
        """Cut a piece by who ran on the CPU where its thread came on; "" is nobody, `[open]` a thread that never did."""
        if piece.cpu is None:
            yield piece.begin_ns, piece.end_ns, "[open]"
            return
        since_ns = piece.begin_ns
        for begin_ns, end_ns, name in self._slices.get(piece.cpu, ()):
            begin_ns, end_ns = max(begin_ns, piece.begin_ns), min(end_ns, piece.end_ns)
            if begin_ns < end_ns:
                yield since_ns, begin_ns, ""
                yield begin_ns, end_ns, name
                since_ns = end_ns
        yield since_ns, piece.end_ns, ""
