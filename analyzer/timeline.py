"""From scheduling events to intervals: what every thread did at every moment of the recording.

One pass over events in time order, carried from batch to batch: memory follows the threads that live, not the file. Every
thread's life within the recording is partitioned, with no gap and no overlap, into intervals off the CPU and slices on it.

The rules, in the order in which they matter (docs/semantics.md argues for each):

- A switch-out in a sleeping state begins a wait. The first waking inside it ends the blocked part; what follows until the
  switch-in is run queue. A switch-out while runnable, or by preemption, is preempted until the switch-in; it has no waker.
- A waking that came before the sleeping switch-out, but after the switch-in before it, ended the wait before it began:
  blocked 0, all of it run queue. With no waking at all the interval is unknown.
- A thread whose first event is a switch-out on a CPU that had not switched before ran since the beginning. One whose first
  event is a waking was blocked since the beginning. Anything else is unknown until the first event.
- Lost events on a CPU make unknown: every interval off the CPU that overlaps the gap, and the slice on that CPU. A
  switch-out by another thread than was switched in is a missing switch: that thread is unknown until its next event.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled

__all__ = [
    "BLOCKED",
    "BORN",
    "EVENT",
    "GAP",
    "IDLE",
    "INTERVAL",
    "MOVED",
    "NAMED",
    "NEVER",
    "NEW",
    "OPEN_BEGIN",
    "OPEN_END",
    "PREEMPTED",
    "SAMPLE",
    "SAMPLED",
    "SLICE",
    "SWITCHED",
    "THREAD",
    "UNKNOWN",
    "WOKEN",
    "Activity",
    "Timeline",
]

NEVER = -1
IDLE = -1  # the waker was the idle task, or whoever an interrupt found there
CHUNK = 1 << 14  # events that are fed at a time: what they bring stays in the processor's cache
PID_LIMIT = 1 << 22  # PID_MAX_LIMIT on 64-bit, include/linux/threads.h

# What an interval is.
BLOCKED, PREEMPTED, NEW, UNKNOWN = 0, 1, 2, 3
OPEN_BEGIN, OPEN_END = 1, 2

# What happens, in the order in which events of the same nanosecond are taken.
NAMED, MOVED, GAP, BORN, WOKEN, SWITCHED, SAMPLED = range(7)

# What a thread is doing.
_UNSEEN, _RUNNING, _ASLEEP, _RUNNABLE, _UNBORN, _DEAD, _LOST = range(7)

PREEMPTED_FLAG = 1
ENDS = 0xB0  # EXIT_DEAD | EXIT_ZOMBIE | TASK_DEAD, include/linux/sched.h

EVENT = np.dtype(
    [
        ("time_ns", "i8"),
        ("until_ns", "i8"),  # GAP: its end
        ("type", "i4"),
        ("cpu", "i4"),
        ("subject", "i8"),  # SWITCHED: prev; WOKEN and BORN: target; SAMPLED and NAMED: the thread; MOVED: the process
        ("other", "i8"),  # SWITCHED: next; WOKEN and BORN: waker; NAMED: the name's id; MOVED: the space's id
        ("tgid", "i8"),  # the subject's process
        ("state", "u4"),  # SWITCHED: prev's; BORN: the name's id
        ("stack", "i4"),
    ],
    align=True,
)
"""One event of the timeline, whatever it was recorded as."""

THREAD = np.dtype(
    [
        ("tid", "i8"), ("tgid", "i8"), ("name", "i4"), ("doing", "i4"),
        ("born_ns", "i8"), ("died_ns", "i8"), ("since_ns", "i8"), ("cpu", "i4"),
        ("out_state", "u4"), ("out_stack", "i4"), ("out_name", "i4"), ("out_space", "i4"), ("samples", "i4"),
        ("wake_ns", "i8"), ("waker", "i4"), ("waker_name", "i4"), ("waker_space", "i4"), ("waker_stack", "i4"),
        ("waker_cpu", "i4"), ("slice", "i8"), ("switches", "i8"), ("wakeups", "i8"), ("missing", "i4"),
    ],
    align=True,
)  # fmt: skip
"""A thread: its identity is its place in the table, since ids are reused. `died_ns` is NEVER while it lives."""

INTERVAL = np.dtype(
    [
        ("begin_ns", "i8"), ("wake_ns", "i8"), ("end_ns", "i8"), ("thread", "i4"), ("name", "i4"), ("space", "i4"),
        ("kind", "i4"), ("open", "i4"), ("state", "u4"), ("stack", "i4"), ("waker", "i4"), ("waker_name", "i4"),
        ("waker_space", "i4"), ("waker_stack", "i4"), ("waker_cpu", "i4"), ("cpu", "i4"),
    ],
    align=True,
)  # fmt: skip
"""Time off the CPU. BLOCKED and NEW: blocked from begin to wake, run queue from wake to end (NEW: begin is wake).
`waker` is a place in the thread table, IDLE where the CPU was idle; `open` says which ends lie outside the recording."""

SLICE = np.dtype(
    [
        ("begin_ns", "i8"), ("end_ns", "i8"), ("serial", "i8"), ("thread", "i4"), ("name", "i4"), ("space", "i4"),
        ("cpu", "i4"), ("samples", "i4"),
    ],
    align=True,
)  # fmt: skip
"""Time on a CPU, with the number of samples that fell into it."""

SAMPLE = np.dtype([("time_ns", "i8"), ("serial", "i8"), ("stack", "i4")], align=True)
"""A sample of what ran, and the slice that it fell into."""


@dataclass(frozen=True)
class Activity:
    """What a batch of events brought to an end: intervals, slices and samples, as structured arrays."""

    intervals: NDArray[np.void]
    slices: NDArray[np.void]
    samples: NDArray[np.void]

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

    def add_thread(self, tid: int, tgid: int, name: int, stack: int) -> None:
        """Add a thread that lived when the recording began, before any event is fed; `stack` is what it slept at."""
        if 0 < tid < PID_LIMIT and 0 <= tgid < PID_LIMIT:
            if self.thread_count == len(self.threads):
                self._grow()
            place = _new_thread(self.threads, self._thread_of, self._clock, tid, tgid, self.began_ns)
            self.threads[place]["name"] = name
            self.threads[place]["out_stack"] = stack

    def set_space(self, tgid: int, space: int) -> None:
        """Say which address space a process had when the recording began."""
        if 0 <= tgid < PID_LIMIT:
            self._space_of[tgid] = space

    def feed(self, events: NDArray[np.void]) -> Iterator[Activity]:
        """Take events (EVENT, in time order) and yield what they ended, a chunk of them at a time."""
        tables = (self._thread_of, self._space_of, self._running, self._seen, self._clock)
        for start in range(0, len(events), CHUNK):
            chunk, done, counts = events[start : start + CHUNK], 0, np.zeros(3, np.int64)
            while done < len(chunk):
                done = _feed(chunk, done, self.threads, tables, (*self._out, counts))
                if done < len(chunk):
                    self._grow()
            yield Activity(*(rows[:count].copy() for rows, count in zip(self._out, counts, strict=True)))

    def end(self, ended_ns: int, running: dict[int, int], asleep: set[int]) -> Activity:
        """End the recording: whatever is still open ends now, marked so.

        Threads without any event are what the snapshot says: `running` (tid → CPU) if that CPU never switched, `asleep`
        throughout.
        """
        count = self.thread_count
        intervals, slices = np.empty(2 * count, INTERVAL), np.empty(count, SLICE)
        counts = np.zeros(3, np.int64)
        hints = np.full((count, 2), NEVER, np.int64)  # the CPU it runs on, whether it sleeps
        for place, tid in enumerate(self.threads["tid"][:count].tolist()):
            cpu = running.get(tid, NEVER)
            hints[place, 0] = cpu if 0 <= cpu < self.cpus and not self._seen[cpu] else NEVER
            hints[place, 1] = tid in asleep
        tables = (self._thread_of, self._space_of, self._running, self._seen, self._clock)
        _end(ended_ns, hints, self.threads, tables, (intervals, slices, np.empty(0, SAMPLE), counts))
        return Activity(intervals[: counts[0]], slices[: counts[1]], np.empty(0, SAMPLE))

    def _grow(self) -> None:
        self.threads = np.concatenate((self.threads, np.zeros_like(self.threads)))


@compiled
def _new_thread(threads, thread_of, clock, tid, tgid, born_ns):  # type: ignore[no-untyped-def]
    place = clock[1]
    clock[1] += 1
    thread = threads[place]
    thread.tid, thread.tgid, thread.name, thread.doing = tid, tgid, NEVER, _UNSEEN
    thread.born_ns, thread.died_ns, thread.since_ns, thread.cpu = born_ns, NEVER, born_ns, NEVER
    thread.out_stack, thread.out_name, thread.out_space, thread.wake_ns = NEVER, NEVER, NEVER, NEVER
    thread.waker, thread.waker_name, thread.waker_space, thread.waker_stack = IDLE, NEVER, NEVER, NEVER
    thread.slice, thread.samples, thread.switches, thread.wakeups, thread.missing = NEVER, 0, 0, 0, 0
    thread_of[tid] = place
    return place


@compiled
def _find(threads, thread_of, clock, tid, tgid):  # type: ignore[no-untyped-def]
    """Return the place of a thread; one that was never heard of lived when the recording began, unless ids went missing."""
    place = thread_of[tid]
    if place == NEVER:
        place = _new_thread(threads, thread_of, clock, tid, max(tgid, 0), clock[0])
    if tgid > 0:
        threads[place].tgid = tgid
    return place


@compiled
def _find_alive(threads, thread_of, clock, tid, tgid, now_ns):  # type: ignore[no-untyped-def]
    """Return the place of a thread that is seen on a CPU; the birth of one that took a dead one's id went missing."""
    place = _find(threads, thread_of, clock, tid, tgid)
    if threads[place].doing == _DEAD:
        place = _new_thread(threads, thread_of, clock, tid, max(tgid, 0), now_ns)
    return place


@compiled
def _off(out, thread, place, kind, end_ns, cpu):  # type: ignore[no-untyped-def]
    """Add the interval that ends now. Its wake is set by the caller for the kinds that have one."""
    intervals, counts = out[0], out[3]
    row = intervals[counts[0]]
    counts[0] += 1
    row.begin_ns, row.wake_ns, row.end_ns = thread.since_ns, end_ns, end_ns
    row.thread, row.kind, row.open, row.cpu = place, kind, 0, cpu
    row.name = thread.out_name if thread.out_name != NEVER else thread.name
    row.space, row.state, row.stack = thread.out_space, thread.out_state, thread.out_stack
    row.waker, row.waker_name, row.waker_space, row.waker_stack = IDLE, NEVER, NEVER, NEVER
    row.waker_cpu = NEVER
    return row


@compiled
def _wake_of(row, thread, wake_ns):  # type: ignore[no-untyped-def]
    row.wake_ns = wake_ns
    row.waker, row.waker_name, row.waker_space = thread.waker, thread.waker_name, thread.waker_space
    row.waker_stack, row.waker_cpu = thread.waker_stack, thread.waker_cpu


@compiled
def _unknown(out, thread, place, end_ns, cpu):  # type: ignore[no-untyped-def]
    if end_ns > thread.since_ns:
        row = _off(out, thread, place, UNKNOWN, end_ns, cpu)
        row.stack = NEVER


@compiled
def _on(out, thread, place, end_ns, space):  # type: ignore[no-untyped-def]
    """Add the slice that ends now."""
    slices, counts = out[1], out[3]
    row = slices[counts[1]]
    counts[1] += 1
    row.begin_ns, row.end_ns, row.serial = thread.since_ns, end_ns, thread.slice
    row.thread, row.name, row.space, row.cpu, row.samples = place, thread.name, space, thread.cpu, thread.samples


@compiled
def _run(thread, cpu, since_ns, clock):  # type: ignore[no-untyped-def]
    """Let a thread run on a CPU from a moment on."""
    thread.doing, thread.cpu, thread.since_ns, thread.samples = _RUNNING, cpu, since_ns, 0
    thread.slice = clock[2]
    clock[2] += 1


@compiled
def _leave(threads, place, event, tables, out):  # type: ignore[no-untyped-def]
    """The thread at `place` is switched out."""
    thread, (_, space_of, running, seen, clock) = threads[place], tables
    now, cpu = event.time_ns, event.cpu
    if thread.doing == _UNSEEN and not seen[cpu]:
        _run(thread, cpu, thread.since_ns, clock)
    space = space_of[thread.tgid]
    if thread.doing == _RUNNING and thread.cpu == cpu:
        _on(out, thread, place, now, space)
    else:
        _unknown(out, thread, place, now, cpu)
        thread.wake_ns = NEVER
    thread.switches += 1
    thread.since_ns, thread.cpu = now, cpu
    thread.out_state, thread.out_stack, thread.out_name, thread.out_space = event.state, event.stack, thread.name, space
    if event.state & ENDS:
        thread.doing, thread.died_ns = _DEAD, now
    elif event.state:
        thread.doing = _ASLEEP
    else:
        thread.doing, thread.wake_ns = _RUNNABLE, NEVER


@compiled
def _enter(threads, place, event, tables, out):  # type: ignore[no-untyped-def]
    """The thread at `place` is switched in."""
    thread, clock = threads[place], tables[4]
    now, cpu = event.time_ns, event.cpu
    known = thread.since_ns >= clock[3]  # nothing was lost since
    if thread.doing == _ASLEEP and known and thread.wake_ns != NEVER:
        row = _off(out, thread, place, BLOCKED, now, cpu)
        _wake_of(row, thread, max(thread.wake_ns, thread.since_ns))
    elif thread.doing == _UNSEEN and known and thread.wake_ns != NEVER:
        row = _off(out, thread, place, BLOCKED, now, cpu)
        row.open |= OPEN_BEGIN
        row.space = tables[1][thread.tgid]
        if thread.wake_ns < clock[4]:
            row.stack = NEVER
        _wake_of(row, thread, thread.wake_ns)
    elif thread.doing == _RUNNABLE and known:
        _off(out, thread, place, PREEMPTED, now, cpu)
    elif thread.doing == _UNBORN and known:
        row = _off(out, thread, place, NEW, now, cpu)
        _wake_of(row, thread, thread.since_ns)
    else:
        if thread.doing == _RUNNING:
            thread.missing += 1
        _unknown(out, thread, place, now, cpu)
    thread.wake_ns = NEVER
    _run(thread, cpu, now, clock)


@compiled
def _wake(threads, place, event, tables, out):  # type: ignore[no-untyped-def]
    """The thread at `place` is woken. Only the first waking inside a wait ends it."""
    thread, (thread_of, space_of, _, _, clock) = threads[place], tables
    thread.wakeups += 1
    first = thread.wake_ns == NEVER or thread.wake_ns < thread.since_ns
    if thread.doing == _RUNNING or thread.doing == _UNSEEN or (thread.doing == _ASLEEP and first):
        thread.wake_ns = event.time_ns
        _note_waker(threads, thread, event, tables)


@compiled
def _note_waker(threads, thread, event, tables):  # type: ignore[no-untyped-def]
    thread.waker_stack, thread.waker_cpu = event.stack, event.cpu
    if event.other:
        waker = _find(threads, tables[0], tables[4], event.other, 0)
        thread.waker, thread.waker_name = waker, threads[waker].name
        thread.waker_space = tables[1][threads[waker].tgid]
    else:
        thread.waker, thread.waker_name, thread.waker_space = IDLE, NEVER, NEVER


@compiled
def _switch(event, threads, tables, out):  # type: ignore[no-untyped-def]
    thread_of, space_of, running, seen, clock = tables
    cpu = event.cpu
    before = running[cpu]
    prev = NEVER
    if event.subject:
        prev = _find_alive(threads, thread_of, clock, event.subject, event.tgid, event.time_ns)
    if before != NEVER and before != prev and threads[before].doing == _RUNNING and threads[before].cpu == cpu:
        threads[before].missing += 1  # when it left, nobody knows
        threads[before].doing, threads[before].wake_ns = _LOST, NEVER
        threads[before].out_stack = threads[before].out_name = threads[before].out_space = NEVER
    if prev != NEVER:
        _leave(threads, prev, event, tables, out)
    seen[cpu] = True
    running[cpu] = NEVER
    if event.other:
        following = _find_alive(threads, thread_of, clock, event.other, 0, event.time_ns)
        _enter(threads, following, event, tables, out)
        running[cpu] = following


@compiled
def _bear(event, threads, tables, out):  # type: ignore[no-untyped-def]
    """A new thread becomes runnable for the first time."""
    thread_of, space_of, _, _, clock = tables
    place = thread_of[event.subject]
    if place == NEVER or threads[place].doing != _UNSEEN or threads[place].wake_ns != NEVER:
        if place != NEVER and threads[place].doing != _DEAD:  # the end of the one that had this id is missing
            _unknown(out, threads[place], place, event.time_ns, NEVER)
            threads[place].doing, threads[place].died_ns = _DEAD, event.time_ns
        place = _new_thread(threads, thread_of, clock, event.subject, max(event.tgid, 0), event.time_ns)
    thread = threads[place]
    thread.tgid = max(event.tgid, 0)
    thread.doing, thread.born_ns, thread.since_ns = _UNBORN, event.time_ns, event.time_ns
    thread.name, thread.out_name, thread.out_space = event.state, event.state, space_of[thread.tgid]
    _note_waker(threads, thread, event, tables)


@compiled
def _lose(event, threads, tables, out):  # type: ignore[no-untyped-def]
    """Events of a CPU are missing from now until `until_ns`."""
    clock, running = tables[4], tables[2]
    clock[3] = max(clock[3], event.until_ns)
    place = running[event.cpu]
    if place != NEVER:
        threads[place].doing, threads[place].wake_ns = _LOST, NEVER
        threads[place].out_stack = threads[place].out_name = threads[place].out_space = NEVER
    running[event.cpu] = NEVER
    tables[3][event.cpu] = True  # whoever runs there from now on may not have run since the beginning


@compiled
def _sample(event, threads, tables, out):  # type: ignore[no-untyped-def]
    """A clock found the thread running. It may be the only evidence that it does."""
    thread_of, space_of, running, seen, clock = tables
    cpu = event.cpu
    place = _find(threads, thread_of, clock, event.subject, event.tgid)
    thread = threads[place]
    if thread.doing == _UNSEEN and not seen[cpu] and running[cpu] == NEVER:
        _run(thread, cpu, thread.since_ns, clock)
        running[cpu] = place
    if running[cpu] == place and thread.doing == _RUNNING:
        samples, counts = out[2], out[3]
        row = samples[counts[2]]
        counts[2] += 1
        row.time_ns, row.serial, row.stack = event.time_ns, thread.slice, event.stack
        thread.samples += 1


@compiled
def _feed(events, done, threads, tables, out):  # type: ignore[no-untyped-def]
    """Take events from `done` on; stops early when the thread table is full. Returns how many are done."""
    thread_of, space_of, running, seen, clock = tables
    while done < len(events):
        if clock[1] + 3 > len(threads):
            return done
        event = events[done]
        done += 1
        if not (0 <= event.cpu < len(running) and 0 <= event.subject < PID_LIMIT and -1 <= event.tgid < PID_LIMIT):
            continue
        if event.type == SWITCHED:
            if 0 <= event.other < PID_LIMIT:
                _switch(event, threads, tables, out)
        elif event.type == WOKEN:
            if 0 <= event.other < PID_LIMIT and event.subject:
                _wake(threads, _find(threads, thread_of, clock, event.subject, event.tgid), event, tables, out)
        elif event.type == SAMPLED:
            if event.subject:
                _sample(event, threads, tables, out)
        elif event.type == BORN:
            if 0 <= event.other < PID_LIMIT and event.subject:
                _bear(event, threads, tables, out)
        elif event.type == GAP:
            _lose(event, threads, tables, out)
        elif event.type == NAMED:
            if thread_of[event.subject] != NEVER:
                threads[thread_of[event.subject]].name = event.other
        elif event.type == MOVED:
            space_of[event.subject] = event.other
    return done


@compiled
def _end(ended_ns, hints, threads, tables, out):  # type: ignore[no-untyped-def]
    space_of, clock = tables[1], tables[4]
    for place in range(len(hints)):
        thread = threads[place]
        known = thread.since_ns >= clock[3]
        if thread.doing == _DEAD:
            continue
        if thread.doing == _UNSEEN and known and thread.wake_ns == NEVER and hints[place, 0] >= 0:
            _run(thread, hints[place, 0], thread.since_ns, clock)
        if thread.doing == _RUNNING:
            _on(out, thread, place, ended_ns, space_of[thread.tgid])
        elif thread.doing == _LOST or not known:
            _unknown(out, thread, place, ended_ns, NEVER)
        elif thread.doing == _RUNNABLE:
            row = _off(out, thread, place, PREEMPTED, ended_ns, NEVER)
            row.open |= OPEN_END
        elif thread.doing == _UNBORN:
            row = _off(out, thread, place, NEW, ended_ns, NEVER)
            _wake_of(row, thread, thread.since_ns)
            row.open |= OPEN_END
        elif thread.doing == _ASLEEP:
            row = _off(out, thread, place, BLOCKED, ended_ns, NEVER)
            row.open |= OPEN_END
            if thread.wake_ns != NEVER:
                _wake_of(row, thread, max(thread.wake_ns, thread.since_ns))
        elif thread.wake_ns != NEVER or hints[place, 1] == 1:
            row = _off(out, thread, place, BLOCKED, ended_ns, NEVER)
            row.open |= OPEN_BEGIN | OPEN_END
            if thread.wake_ns != NEVER:
                _wake_of(row, thread, thread.wake_ns)
        else:
            _unknown(out, thread, place, ended_ns, NEVER)
