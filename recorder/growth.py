"""What numbers of the kernel that only grow have grown by: the counters of sources that have some, once a second."""

from offwake.recorder.sources import Source

__all__ = ["Growth"]


class Growth:
    """Reads the counters of some sources, the first time when it is made."""

    def __init__(self, sources: list[Source]) -> None:
        self._readers = {source.name: source.counters for source in sources if source.counters}
        self._last = {name: read() for name, read in self._readers.items()}

    def taken(self) -> dict[str, dict[str, int]]:
        """Return by how much each counter that grew has grown since the last call, by source."""
        found = {}
        for name, read in self._readers.items():
            before, now = self._last[name], read()
            found[name] = {counter: value - before.get(counter, 0) for counter, value in now.items()}
            found[name] = {counter: grown for counter, grown in found[name].items() if grown > 0}
            self._last[name] = now
        return found
