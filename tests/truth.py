"""What an analyzer should find in a simulated recording: every life cut into its parts, and what ended its waits.

The parts come from the simulator's own books. Only where a recording cannot know them (before a thread's first event,
or across lost records) do they become what the rules of attribution make of what is left.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.events import Event, Lost, Sample, Stack, Switch, Trace, WakeupNew, Waking
from tests.lives import Change, Ending, Life
from tests.simulator import Simulator

__all__ = ["PARTS", "Gap", "Moments", "Piece", "ThreadTruth", "gaps_of", "pieces_of", "truth_of", "weights"]

PARTS = ("on_cpu", "blocked", "run_queue", "preempted", "unknown")


@dataclass(frozen=True)
class Piece:
    """A part of a thread's life, from `begin_ns` to `end_ns`; off-CPU with its stack, blocked with what ended it.

    `cpu` is where it ran, or where it came on when it had waited for a CPU; None: it did not within the recording.
    """

    begin_ns: int
    end_ns: int
    part: str
    stack: Stack = ()
    ending: Ending | None = None
    cpu: int | None = None


class Moments(NamedTuple):
    """Time of some thread that a view shows as this stack, root first."""

    begin_ns: int
    end_ns: int
    frames: Stack


@dataclass(frozen=True)
class Gap:
    """Records of a CPU are missing between these times."""

    cpu: int
    begin_ns: int
    end_ns: int


@dataclass
class ThreadTruth:
    """One thread, as the table of threads and the profiles should show it."""

    life: Life
    pieces: list[Piece] = field(default_factory=list)
    switches: int = 0
    wakeups: int = 0

    @property
    def comm(self) -> str:
        """Return the thread's last name."""
        return self.life.comm

    @property
    def lived_ns(self) -> int:
        """Return how much of its life lies in the recording."""
        return sum(piece.end_ns - piece.begin_ns for piece in self.pieces)

    def row(self) -> dict[str, int]:
        """Return the thread's row of the table, but for its name."""
        times = {f"{part}_ns": 0 for part in PARTS}
        for piece in self.pieces:
            times[f"{piece.part}_ns"] += piece.end_ns - piece.begin_ns
        counts = {"switches": self.switches, "wakeups": self.wakeups}
        return {"tid": self.life.tid, "pid": self.life.tgid, **times, **counts}


def truth_of(simulator: Simulator, trace: Trace, lost: frozenset[Event] = frozenset()) -> list[ThreadTruth]:
    """Return every thread that lived within the recording `trace` of the simulation, from which `lost` is missing."""
    seen = _Seen(trace, lost, gaps_of(trace))
    return [seen.thread(life) for life in simulator.lives if seen.lived(life)]


def gaps_of(trace: Trace) -> list[Gap]:
    """Return the gaps that the trace's LOST records tell of: each reaches back to the CPU's record before."""
    latest = dict.fromkeys(range(trace.cpus), trace.began_ns)
    gaps = []
    for event in trace.events:
        if isinstance(event, Lost):
            gaps.append(Gap(event.cpu, latest[event.cpu], event.time_ns))
        if isinstance(event, Switch | Waking | WakeupNew | Sample | Lost):
            latest[event.cpu] = max(latest[event.cpu], event.time_ns)
    return gaps


def pieces_of(threads: list[ThreadTruth]) -> Iterator[tuple[str, Piece]]:
    """Yield every piece of every thread, with what the thread was called when it last was on a CPU.

    That is at the end of a piece in which it ran, and before any other.
    """
    for thread in threads:
        for piece in thread.pieces:
            time_ns = piece.end_ns if piece.part == "on_cpu" else piece.begin_ns
            yield next(comm for since_ns, comm in reversed(thread.life.names) if since_ns <= time_ns), piece


def weights(view: Iterable[Moments], begin_ns: int = 0, end_ns: int = 2**63) -> Counter[Stack]:
    """Return the nanoseconds of each stack of a view between two times."""
    total: Counter[Stack] = Counter()
    for moments in view:
        total[moments.frames] += max(0, min(moments.end_ns, end_ns) - max(moments.begin_ns, begin_ns))
    return +total


@dataclass(frozen=True)
class _Stretch:
    """Changes of a life that begin with a switch, and when the next switch ended it, on which CPU.

    None: it was the recording's end.
    """

    changes: list[Change]
    end_ns: int
    cpu: int | None = None


@dataclass(frozen=True)
class _Seen:
    """What a recording shows of lives."""

    trace: Trace
    lost: frozenset[Event]
    gaps: list[Gap]

    def lived(self, life: Life) -> bool:
        """Return whether some of the life lies in the recording."""
        born, died = _ends(life)
        return born < self.trace.ended_ns and died > self.trace.began_ns

    def thread(self, life: Life) -> ThreadTruth:
        """Return the life as the recording shows it."""
        pieces: list[Piece] = []
        for stretch in self._stretches(life):
            after_unknown = bool(pieces) and pieces[-1].part == "unknown"
            pieces += self._pieces(life, stretch, after_unknown)
        changes = [change for change in life.changes if self._shown(change.event)]
        leavings = [change for change in changes if isinstance(change.event, Switch) and change.part != "on_cpu"]
        wakings = [wakeup.event for wakeup in life.wakeups if self._shown(wakeup.event)]
        return ThreadTruth(life, pieces, len(leavings), len(wakings))

    def _shown(self, event: Event | None) -> bool:
        """Return whether the recording holds the event, within its time."""
        if event is None or event in self.lost:
            return False
        return self.trace.began_ns <= event.time_ns <= self.trace.ended_ns

    def _stretches(self, life: Life) -> Iterator[_Stretch]:
        """Cut a life at the switches that the recording shows."""
        began_ns, ended_ns = self.trace.began_ns, self.trace.ended_ns
        before = [change for change in life.changes if change.time_ns < began_ns and change.part != "unborn"]
        stretch = [Change(began_ns, before[-1].part, before[-1].cpu, wait=before[-1].wait)] if before else []
        for change in life.changes:
            if not began_ns <= change.time_ns <= ended_ns or change.part == "unborn":
                continue
            if isinstance(change.event, Switch) and self._shown(change.event) and stretch:
                yield _Stretch(stretch, change.time_ns, change.cpu)
                stretch = []
            stretch.append(change)
        if stretch[0].part != "dead":
            yield _Stretch(stretch, ended_ns)

    def _pieces(self, life: Life, stretch: _Stretch, after_unknown: bool) -> Iterator[Piece]:
        first, end_ns = stretch.changes[0], stretch.end_ns
        woken_early = first.part == "run_queue" and isinstance(first.event, Switch)
        if self._broken(first, end_ns):
            yield Piece(first.time_ns, end_ns, "unknown")
        elif first.event is None and first.part in ("run_queue", "preempted"):
            yield from self._unseen(life, stretch)
        elif woken_early and first.wait and stretch.cpu is None:  # it has not come back: nothing tells
            yield Piece(first.time_ns, end_ns, "blocked", first.wait.stack, Ending())
        elif woken_early and (after_unknown or self._is_unwoken(life, first)):
            yield Piece(first.time_ns, end_ns, "unknown")  # nobody knows since when it ran, or what woke it
        else:
            ends = [change.time_ns for change in stretch.changes[1:]] + [end_ns]
            for change, until_ns in zip(stretch.changes, ends, strict=True):
                yield self._piece(change, until_ns, stretch.cpu)

    def _is_unwoken(self, life: Life, asleep: Change) -> bool:
        """Return whether the records show no waking since the switch-in before a sleep that had been called off."""
        came_ns = max(one.time_ns for one in life.changes if one.part == "on_cpu" and one.time_ns < asleep.time_ns)
        wakings = (wakeup.event for wakeup in life.wakeups if came_ns < wakeup.event.time_ns < asleep.time_ns)
        return not any(map(self._shown, wakings))

    def _broken(self, first: Change, end_ns: int) -> bool:
        """Return whether records are missing that might have changed this stretch: on a CPU its own, off-CPU any."""
        return any(
            gap.begin_ns < end_ns and first.time_ns < gap.end_ns and (first.part != "on_cpu" or gap.cpu == first.cpu)
            for gap in self.gaps
        )

    def _unseen(self, life: Life, stretch: _Stretch) -> Iterator[Piece]:
        """Judge a thread that was runnable off-CPU at the beginning: nothing shows it, unless a waking misleads.

        One that was preempted while it went to sleep looks like a sleeper, until something wakes it.
        """
        begin_ns, end_ns = stretch.changes[0].time_ns, stretch.end_ns
        for wakeup in life.wakeups:
            woken_ns = wakeup.event.time_ns
            if wakeup.part == "preempted" and begin_ns <= woken_ns <= end_ns:
                stack = _kernel_part(wakeup.wait.stack)
                yield Piece(begin_ns, woken_ns, "blocked", stack, wakeup.wait.ending)
                yield Piece(woken_ns, end_ns, "run_queue", stack, cpu=stretch.cpu)
                return
        yield Piece(begin_ns, end_ns, "unknown")

    def _piece(self, change: Change, until_ns: int, next_cpu: int | None) -> Piece:
        if change.part == "on_cpu":
            return Piece(change.time_ns, until_ns, "on_cpu", cpu=change.cpu)
        if not change.wait:  # preempted, or new
            return Piece(change.time_ns, until_ns, change.part, cpu=next_cpu)
        is_whole = change.wait.began_ns >= self.trace.began_ns
        stack = change.wait.stack if is_whole else _kernel_part(change.wait.stack)
        if change.part == "blocked":
            return Piece(change.time_ns, until_ns, "blocked", stack, change.wait.ending)
        return Piece(change.time_ns, until_ns, "run_queue", stack, cpu=next_cpu)


def _ends(life: Life) -> tuple[int, int]:
    """Return when the life began and ended."""
    alive = [change.time_ns for change in life.changes if change.part != "unborn"]
    return (alive[0] if alive else 2**63), (alive[-1] if life.part == "dead" else 2**63)


def _kernel_part(stack: Stack) -> Stack:
    """Return what /proc shows of a stack."""
    return tuple(frame for frame in stack if frame.endswith("_[k]"))
