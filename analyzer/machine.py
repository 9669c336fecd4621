"""What happened to the machine while it was recorded: CPUs came and went, the wall clock was set, it was suspended.

None of it changes a duration: all times are CLOCK_MONOTONIC's, which nobody sets and which stands still in a suspend. A CPU
that had no ring for a moment is a gap, around which time counts as unknown.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

__all__ = ["Machine"]

WORTH_TELLING_NS = 10_000_000  # the clocks are read one after the other: less may be an interrupt between them
TOLD_AT_MOST = 6
CPU_WORDS = {"offline": "went offline", "online": "came online", "away": "went offline and came back"}


@dataclass(frozen=True)
class Machine:
    """What the ticks of a recording tell of its machine.

    `cpu_gaps` are theirs (docs/format.md), `clocks` readings of the three clocks together, in the order of time.
    """

    began_ns: int
    cpu_gaps: list[list[Any]]
    clocks: list[dict[str, int]]

    def document(self) -> dict[str, Any]:
        """Return it as `offwake info --json` has it; times are since the recording's beginning.

        A step is forward where it is positive. Steps and suspends happened in the second before `at_ns`.
        """
        return {
            "cpu_changes": [
                {"cpu": cpu, "begin_ns": begin_ns - self.began_ns, "end_ns": end_ns - self.began_ns, "what": what}
                for cpu, begin_ns, end_ns, what in self.cpu_gaps
            ],
            "clock_steps": [
                {"at_ns": at_ns, "step_ns": step_ns} for at_ns, step_ns in self._jumps("realtime_ns", "boottime_ns")
            ],
            "suspends": [
                {"at_ns": at_ns, "suspended_ns": away_ns}
                for at_ns, away_ns in self._jumps("boottime_ns", "monotonic_ns")
                if away_ns > 0
            ],
        }

    def sentences(self) -> Iterator[str]:
        """Yield a sentence for each thing that happened; of CPUs, one for all."""
        known = self.document()
        changes = [
            f"CPU {change['cpu']} {CPU_WORDS.get(change['what'], change['what'])} at {_at(change['end_ns'])}"
            for change in known["cpu_changes"]
        ]
        if changes:
            more = f" and {len(changes) - TOLD_AT_MOST} more" if len(changes) > TOLD_AT_MOST else ""
            yield (
                f"{', '.join(changes[:TOLD_AT_MOST])}{more}: what happened there within a second before may be missing, and "
                "counts as unknown."
            )
        for step in known["clock_steps"]:
            how = "forward" if step["step_ns"] > 0 else "back"
            yield (
                f"The wall clock was set {how} by {abs(step['step_ns']) / 1e9:.1f} s at {_at(step['at_ns'])}: durations are "
                "not touched by it, wall-clock times after that are by the clock of the beginning."
            )
        for suspend in known["suspends"]:
            yield (
                f"The machine was suspended for {suspend['suspended_ns'] / 1e9:.1f} s at {_at(suspend['at_ns'])}: no "
                "duration has this time in it."
            )

    def _jumps(self, clock: str, against: str) -> Iterator[tuple[int, int]]:
        """Yield when one clock went on otherwise than another, and by how much."""
        for before, after in pairwise(self.clocks):
            jump_ns = (after[clock] - before[clock]) - (after[against] - before[against])
            if abs(jump_ns) >= WORTH_TELLING_NS:
                yield after["monotonic_ns"] - self.began_ns, jump_ns


def _at(time_ns: int) -> str:
    return f"+{time_ns / 1e9:.1f} s"
