"""What became of all events so far: what the kernel's counters say, added up."""

from dataclasses import dataclass

from offwake.recorder.programs.program import Program, Tally
from offwake.recorder.rings import Rings

__all__ = ["Counts"]


@dataclass(frozen=True)
class Counts:
    """Adds up the counters of the programs and of the rings; also when the programs are detached."""

    program: Program
    rings: Rings

    def totals(self) -> tuple[int, int]:
        """Return how many events were stored, and how many were not."""
        tallies = self._tallies()
        return sum(tally.stored for tally in tallies), sum(tally.failed for tally in tallies)

    def stored(self) -> dict[str, int]:
        """Return how many events were stored, by source."""
        tallies, kinds = self.program.tallies(), self.program.kinds
        return {
            source.name: sum(tallies[cpu][kinds[event.name]].stored for cpu in tallies for event in source.events)
            for source in self.program.sources
            if source.events and not source.sampling  # of samples, the kernel's own are not counted
        } | {
            source.name: sum(self.rings.stored(traced.name) for traced in source.traced)
            for source in self.program.sources
            if source.traced
        } | self.program.counted()

    def lost(self) -> dict[str, int]:
        """Return what is missing, by cause."""
        tallies = self._tallies()
        no_ring = sum(tally.no_ring for tally in tallies)
        return {
            "ring full": sum(tally.failed for tally in tallies) - no_ring + self.rings.lost(),
            "no ring": no_ring,
            "no room to count": self.program.uncounted(),
            "recursion": sum(self.program.recursion_misses().values()),
        }

    def _tallies(self) -> list[Tally]:
        return [tally for kinds in self.program.tallies().values() for tally in kinds.values()]
