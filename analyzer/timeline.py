"""From scheduling events to intervals: what every thread did at every moment of the recording.

One pass over events in time order, carried from batch to batch: memory follows the threads that live, not the file. Every
thread's life within the recording is partitioned, with no gap and no overlap, into intervals off the CPU and slices on it.

What an event does to a thread is in transitions.py.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer import transitions
from offwake.analyzer.intervals import INTERVAL, NEVER, PID_LIMIT, SAMPLE, SLICE, THREAD, UNSEEN
from offwake.analyzer.latest import NONE, latest

__all__ = ["Activity", "Timeline"]

CHUNK = 1 << 14  # events that are fed at a time: what they bring stays in the processor's cache


@dataclass(frozen=True)
class Activity:
    """What a batch of events brought to an end: intervals, slices and samples, as structured arrays."""

    intervals: NDArray[np.void]
    slices: NDArray[np.void]
    samples: NDArray[np.void]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return self.intervals.nbytes + self.slices.nbytes + self.samples.nbytes

    @staticmethod
    def nothing() -> "Activity":
        """Return no activity."""
        return Activity(np.empty(0, INTERVAL), np.empty(0, SLICE), np.empty(0, SAMPLE))


@dataclass
class Timeline:
    """The state of all threads at one moment, from `began_ns` on. Feed it events in time order, then end it."""

    began_ns: int
    cpus: int
    scanned_ns: int = 0  # when the snapshot was complete: its stacks are of waits that ended later
    threads: NDArray[np.void] = field(default_factory=lambda: np.zeros(256, THREAD))

    def __post_init__(self) -> None:
        self._thread_of = np.full(PID_LIMIT, NEVER, np.int32)
        self._space_of = np.full(PID_LIMIT, NEVER, np.int32)
        self._running = np.full(self.cpus, NEVER, np.int32)  # the thread on each CPU; NEVER: idle or not known
        self._seen = np.zeros(self.cpus, np.bool_)  # whether the CPU has switched yet
        self._out = (np.empty(2 * CHUNK, INTERVAL), np.empty(2 * CHUNK, SLICE), np.empty(CHUNK, SAMPLE))
        # began, how many threads, how many slices, end of the last gap, scanned
        self._clock = np.array([self.began_ns, 0, 0, NEVER, self.scanned_ns], np.int64)

    @property
    def thread_count(self) -> int:
        """How many rows of `threads` are in use."""
        return int(self._clock[1])

    def place(self, tid: int) -> int:
        """Return the row of `threads` of the last thread with this id, NEVER for none."""
        return int(self._thread_of[tid]) if 0 < tid < PID_LIMIT else NEVER

    def places(self, tid: NDArray[Any], time_ns: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the rows of `threads` of the threads that had these ids at these times, NEVER for none."""
        threads = self.threads[: self.thread_count]
        tids = np.where((tid > 0) & (tid < PID_LIMIT), tid, 0).astype(np.int64)
        found = latest(tids, time_ns, (threads["tid"].astype(np.int64), threads["born_ns"]))
        return np.where(found == NONE, self._thread_of[tids], found).astype(np.int32)  # before any birth that is known

    def add_thread(self, tid: int, tgid: int, name: int, asleep: tuple[int, int]) -> None:
        """Add a thread that lived when the recording began, before any event is fed; it slept `asleep`: stack, state."""
        if 0 < tid < PID_LIMIT and 0 <= tgid < PID_LIMIT:
            if self.thread_count == len(self.threads):
                self._grow()
            place = transitions.new_thread(self.threads, self._thread_of, self._clock, tid, tgid, self.began_ns)
            self.threads[place]["name"] = name
            self.threads[place]["out_stack"], self.threads[place]["out_state"] = asleep

    def set_space(self, tgid: int, space: int) -> None:
        """Say which address space a process had when the recording began."""
        if 0 <= tgid < PID_LIMIT:
            self._space_of[tgid] = space

    def feed(self, events: NDArray[np.void], order: NDArray[np.int64]) -> Iterator[Activity]:
        """Take events (EVENT), `order` being their places in the order of time; yield what they ended, a chunk at a time."""
        tables = (self._thread_of, self._space_of, self._running, self._seen, self._clock)
        for start in range(0, len(order), CHUNK):
            chunk, done, counts = events[order[start : start + CHUNK]], 0, np.zeros(3, np.int64)
            while done < len(chunk):
                done = transitions.feed(chunk, done, self.threads, tables, (*self._out, counts))
                if done < len(chunk):
                    self._grow()
            yield Activity(*(rows[:count].copy() for rows, count in zip(self._out, counts, strict=True)))

    def end(self, ended_ns: int, running: dict[int, int], asleep: set[int]) -> Activity:
        """End the recording: whatever is still open ends now, marked so.

        Threads without any event are what the snapshot says: `running` (tid → CPU) if that CPU never switched and no other
        thread claims it, `asleep` throughout.
        """
        count = self.thread_count
        intervals, slices = np.empty(2 * count, INTERVAL), np.empty(count, SLICE)
        counts = np.zeros(3, np.int64)
        hints = np.full((count, 2), NEVER, np.int64)  # the CPU it runs on, whether it sleeps
        tids, unseen = self.threads["tid"][:count], self.threads["doing"][:count] == UNSEEN
        silent = [cpu for cpu in range(self.cpus) if not self._seen[cpu] and self._running[cpu] == NEVER]
        claims = Counter(running[tid] for tid in tids[unseen].tolist() if tid in running)
        for place in np.flatnonzero(unseen).tolist():
            tid = int(tids[place])
            cpu = running.get(tid, NEVER)
            hints[place, 0] = cpu if cpu in silent and claims[cpu] == 1 else NEVER  # of several only one can have run
            hints[place, 1] = tid in asleep
        tables = (self._thread_of, self._space_of, self._running, self._seen, self._clock)
        transitions.end(ended_ns, hints, self.threads, tables, (intervals, slices, np.empty(0, SAMPLE), counts))
        return Activity(intervals[: counts[0]], slices[: counts[1]], np.empty(0, SAMPLE))

    def _grow(self) -> None:
        self.threads = np.concatenate((self.threads, np.zeros_like(self.threads)))
