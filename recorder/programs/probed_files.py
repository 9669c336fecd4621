"""The files that a source's probes go into: those that run when recording begins, and those that are mapped later, as the
C library of a container that starts.

A later file is probed some milliseconds after it was mapped, by a link, which takes no capability any more (Linux 6.6).
"""

import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any, BinaryIO

from offwake.format.records import Mmap2
from offwake.recorder.binaries.libraries import MappedFiles
from offwake.recorder.kernel.uprobes import Site
from offwake.recorder.sources import Source

__all__ = ["ProbedFiles"]


@dataclass(frozen=True)
class Probed:
    """A file with a source's probes in it since `probed_ns`, or `why` it has none.

    It was mapped at `mapped_ns`, 0 where that was before recording began.
    """

    source: str
    path: str
    mapped_ns: int
    probed_ns: int
    why: str


class ProbedFiles:
    """Looks after the probes of a source that has some `in_files`; `attach` puts them there, or returns why it cannot."""

    def __init__(self, source: Source, attach: Callable[[list[Site]], str]) -> None:
        assert source.in_files
        self._source, self._attach, self._sites = source.name, attach, source.in_files.sites
        self._files = MappedFiles(source.in_files.wanted)
        self._all: list[Probed] = []
        self._taken = 0

    def begin(self) -> str:
        """Probe the files that are mapped; returns why not, where none of them could be."""
        for path, file in self._files.scan():
            self._probe(path, file, 0)
        self._taken = len(self._all)
        return self._all[0].why if all(one.why for one in self._all) and self._all else ""

    def follow(self, record: Mmap2) -> None:
        """Probe a file that was mapped, if it is another one."""
        end = record.start + record.length
        if found := self._files.open(record.pid, (record.start, end, 0, record.path, record.identity)):
            self._probe(*found, record.time_ns)

    def take(self) -> list[list[Any]]:
        """Return what became of files since the last call, each as a TICK has it."""
        new, self._taken = self._all[self._taken :], len(self._all)
        return [list(astuple(one)) for one in new]

    def as_values(self) -> list[list[Any]]:
        """Return all of them, as a keyframe has them."""
        return [list(astuple(one)) for one in self._all]

    def _probe(self, path: str, file: BinaryIO, mapped_ns: int) -> None:
        with file:
            if sites := self._sites(file):
                why = self._attach(sites)
                self._all.append(Probed(self._source, path, mapped_ns, time.monotonic_ns(), why))
