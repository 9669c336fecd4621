"""What each event does to the thread it is about: the compiled rules of the timeline.

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

from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled
from offwake.analyzer.intervals import (
    ASLEEP,
    BLOCKED,
    BORN,
    DEAD,
    ENDS,
    GAP,
    IDLE,
    LOST,
    MOVED,
    NAMED,
    NEVER,
    NEW,
    OPEN_BEGIN,
    OPEN_END,
    PID_LIMIT,
    PREEMPTED,
    RUNNABLE,
    RUNNING,
    SAMPLED,
    SWITCHED,
    UNBORN,
    UNKNOWN,
    UNSEEN,
    WOKEN,
)

__all__ = ["end", "feed", "new_thread"]

Table = NDArray[np.void]
Row = Any  # one record of a table
Numbers = NDArray[np.int64]
Places = NDArray[np.int32]
State = tuple[Places, Places, Places, NDArray[np.bool_], Numbers]
"""thread_of (by tid), space_of (by tgid), running (by CPU), seen (by CPU), clock; see Timeline."""
Out = tuple[Table, Table, Table, Numbers]
"""Room for intervals, slices and samples, and how many of each there are."""


@compiled
def new_thread(threads: Table, thread_of: Places, clock: Numbers, tid: int, tgid: int, born_ns: int) -> int:
    place: int = clock[1]
    clock[1] += 1
    thread = threads[place]
    thread.tid, thread.tgid, thread.name, thread.doing = tid, tgid, NEVER, UNSEEN
    thread.born_ns, thread.died_ns, thread.since_ns, thread.cpu = born_ns, NEVER, born_ns, NEVER
    thread.out_stack, thread.out_name, thread.out_space, thread.wake_ns = NEVER, NEVER, NEVER, NEVER
    thread.waker, thread.waker_name, thread.waker_space, thread.waker_stack = IDLE, NEVER, NEVER, NEVER
    thread.slice, thread.samples, thread.switches, thread.wakeups, thread.missing = NEVER, 0, 0, 0, 0
    thread_of[tid] = place
    return place


@compiled
def _find(threads: Table, thread_of: Places, clock: Numbers, tid: int, tgid: int) -> int:
    """Return the place of a thread; one that was never heard of lived when the recording began, unless ids went missing."""
    place: int = thread_of[tid]
    if place == NEVER:
        place = new_thread(threads, thread_of, clock, tid, max(tgid, 0), clock[0])
    if tgid > 0:
        threads[place].tgid = tgid
    return place


@compiled
def _find_alive(threads: Table, thread_of: Places, clock: Numbers, tid: int, tgid: int, now_ns: int) -> int:
    """Return the place of a thread that is seen on a CPU; the birth of one that took a dead one's id went missing."""
    place = _find(threads, thread_of, clock, tid, tgid)
    if threads[place].doing == DEAD:
        place = new_thread(threads, thread_of, clock, tid, max(tgid, 0), now_ns)
    return place


@compiled
def _off(out: Out, thread: Row, place: int, kind: int, end_ns: int, cpu: int) -> Row:
    """Add the interval that ends now. Its wake is set by the caller for the kinds that have one."""
    intervals, counts = out[0], out[3]
    row = intervals[counts[0]]
    counts[0] += 1
    row.begin_ns, row.wake_ns, row.end_ns = thread.since_ns, end_ns, end_ns
    row.thread, row.kind, row.open, row.cpu = place, kind, 0, cpu
    row.name = thread.out_name if thread.out_name != NEVER else thread.name
    row.space, row.state, row.stack = thread.out_space, thread.out_state, thread.out_stack
    row.waker, row.waker_name, row.waker_space, row.waker_stack = IDLE, NEVER, NEVER, NEVER
    row.waker_cpu, row.fired = NEVER, NEVER
    return row


@compiled
def _wake_of(row: Row, thread: Row, wake_ns: int) -> None:
    row.wake_ns = wake_ns
    row.waker, row.waker_name, row.waker_space = thread.waker, thread.waker_name, thread.waker_space
    row.waker_stack, row.waker_cpu, row.fired = thread.waker_stack, thread.waker_cpu, thread.fired


@compiled
def _unknown(out: Out, thread: Row, place: int, end_ns: int, cpu: int) -> None:
    if end_ns > thread.since_ns:
        row = _off(out, thread, place, UNKNOWN, end_ns, cpu)
        row.stack = NEVER


@compiled
def _on(out: Out, thread: Row, place: int, end_ns: int) -> None:
    """Add the slice that ends now."""
    slices, counts = out[1], out[3]
    row = slices[counts[1]]
    counts[1] += 1
    row.begin_ns, row.end_ns, row.serial = thread.since_ns, end_ns, thread.slice
    row.thread, row.name, row.cpu, row.samples = place, thread.name, thread.cpu, thread.samples


@compiled
def _run(thread: Row, cpu: int, since_ns: int, clock: Numbers) -> None:
    """Let a thread run on a CPU from a moment on."""
    thread.doing, thread.cpu, thread.since_ns, thread.samples = RUNNING, cpu, since_ns, 0
    thread.slice = clock[2]
    clock[2] += 1


@compiled
def _leave(threads: Table, place: int, event: Row, tables: State, out: Out) -> None:
    """The thread at `place` is switched out."""
    thread, (_, space_of, _, seen, clock) = threads[place], tables
    now, cpu = event.time_ns, event.cpu
    if thread.doing == UNSEEN and not seen[cpu]:
        _run(thread, cpu, thread.since_ns, clock)
    if thread.doing == RUNNING and thread.cpu == cpu:
        _on(out, thread, place, now)
    else:
        _unknown(out, thread, place, now, cpu)
        thread.wake_ns = NEVER
    thread.switches += 1
    thread.since_ns, thread.cpu, thread.woken = now, cpu, False
    thread.out_state, thread.out_stack, thread.out_name = event.state, event.stack, thread.name
    thread.out_space = space_of[thread.tgid]
    if event.state & ENDS:
        thread.doing, thread.died_ns = DEAD, now
    elif event.state:
        thread.doing = ASLEEP
    else:
        thread.doing, thread.wake_ns = RUNNABLE, NEVER


@compiled
def _enter(threads: Table, place: int, event: Row, tables: State, out: Out) -> None:
    """The thread at `place` is switched in."""
    thread, clock = threads[place], tables[4]
    now, cpu = event.time_ns, event.cpu
    known = thread.since_ns >= clock[3]  # nothing was lost since
    if thread.doing == ASLEEP and known and thread.wake_ns != NEVER:
        row = _off(out, thread, place, BLOCKED, now, cpu)
        _wake_of(row, thread, max(thread.wake_ns, thread.since_ns))
    elif thread.doing == UNSEEN and known and thread.wake_ns != NEVER:
        row = _off(out, thread, place, BLOCKED, now, cpu)
        row.open |= OPEN_BEGIN
        row.space = tables[1][thread.tgid]
        if thread.wake_ns < clock[4]:
            row.stack = NEVER
        _wake_of(row, thread, thread.wake_ns)
    elif thread.doing == RUNNABLE and known:
        _off(out, thread, place, PREEMPTED, now, cpu)
    elif thread.doing == UNBORN and known:
        row = _off(out, thread, place, NEW, now, cpu)
        _wake_of(row, thread, thread.since_ns)
    else:
        if thread.doing == RUNNING:
            thread.missing += 1
        _unknown(out, thread, place, now, cpu)
    thread.wake_ns = NEVER
    _run(thread, cpu, now, clock)


@compiled
def _wake(threads: Table, place: int, event: Row, tables: State) -> None:
    """The thread at `place` is woken. Only the first waking inside a wait ends it."""
    thread = threads[place]
    thread.wakeups += 1
    if thread.doing == RUNNING or thread.doing == UNSEEN or (thread.doing == ASLEEP and not thread.woken):
        thread.wake_ns, thread.woken = event.time_ns, thread.doing == ASLEEP
        _note_waker(threads, thread, event, tables)


@compiled
def _note_waker(threads: Table, thread: Row, event: Row, tables: State) -> None:
    thread.waker_stack, thread.waker_cpu, thread.fired = event.stack, event.cpu, event.fired
    if event.other:
        waker = _find(threads, tables[0], tables[4], event.other, 0)
        thread.waker, thread.waker_name = waker, threads[waker].name
        thread.waker_space = tables[1][threads[waker].tgid]
    else:
        thread.waker, thread.waker_name, thread.waker_space = IDLE, NEVER, NEVER


@compiled
def _switch(event: Row, threads: Table, tables: State, out: Out) -> None:
    thread_of, space_of, running, seen, clock = tables
    cpu = event.cpu
    before = running[cpu]
    prev = NEVER
    if event.subject:
        prev = _find_alive(threads, thread_of, clock, event.subject, event.tgid, event.time_ns)
    if before != NEVER and before != prev and threads[before].doing == RUNNING and threads[before].cpu == cpu:
        threads[before].missing += 1  # when it left, nobody knows
        threads[before].doing, threads[before].wake_ns = LOST, NEVER
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
def _bear(event: Row, threads: Table, tables: State, out: Out) -> None:
    """A new thread becomes runnable for the first time."""
    thread_of, space_of, _, _, clock = tables
    place = thread_of[event.subject]
    if place == NEVER or threads[place].doing != UNSEEN or threads[place].wake_ns != NEVER:
        if place != NEVER and threads[place].doing != DEAD:  # the end of the one that had this id is missing
            _unknown(out, threads[place], place, event.time_ns, NEVER)
            threads[place].doing, threads[place].died_ns = DEAD, event.time_ns
        place = new_thread(threads, thread_of, clock, event.subject, max(event.tgid, 0), event.time_ns)
    thread = threads[place]
    thread.tgid = max(event.tgid, 0)
    thread.doing, thread.born_ns, thread.since_ns = UNBORN, event.time_ns, event.time_ns
    thread.name, thread.out_name, thread.out_space = event.state, event.state, space_of[thread.tgid]
    _note_waker(threads, thread, event, tables)


@compiled
def _lose(event: Row, threads: Table, tables: State, out: Out) -> None:
    """Events of a CPU are missing from now until `until_ns`."""
    clock, running = tables[4], tables[2]
    clock[3] = max(clock[3], event.until_ns)
    place = running[event.cpu]
    if place != NEVER:
        threads[place].doing, threads[place].wake_ns = LOST, NEVER
        threads[place].out_stack = threads[place].out_name = threads[place].out_space = NEVER
    running[event.cpu] = NEVER
    tables[3][event.cpu] = True  # whoever runs there from now on may not have run since the beginning


@compiled
def _sample(event: Row, threads: Table, tables: State, out: Out) -> None:
    """A clock found the thread running. It may be the only evidence that it does."""
    thread_of, space_of, running, seen, clock = tables
    cpu = event.cpu
    place = _find(threads, thread_of, clock, event.subject, event.tgid)
    thread = threads[place]
    if thread.doing == UNSEEN and not seen[cpu] and running[cpu] == NEVER:
        _run(thread, cpu, thread.since_ns, clock)
        running[cpu] = place
    if running[cpu] == place and thread.doing == RUNNING:
        samples, counts = out[2], out[3]
        row = samples[counts[2]]
        counts[2] += 1
        row.time_ns, row.serial, row.stack = event.time_ns, thread.slice, event.stack
        row.space = space_of[thread.tgid]
        thread.samples += 1


@compiled
def feed(events: Table, done: int, threads: Table, tables: State, out: Out) -> int:
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
                _wake(threads, _find(threads, thread_of, clock, event.subject, event.tgid), event, tables)
        elif event.type == SAMPLED:
            if event.subject:
                _sample(event, threads, tables, out)
        elif event.type == BORN:
            if 0 <= event.other < PID_LIMIT and event.subject:
                _bear(event, threads, tables, out)
        elif event.type == GAP:
            _lose(event, threads, tables, out)
        elif event.type == NAMED:
            place = thread_of[event.subject]
            if place != NEVER and threads[place].doing == DEAD:  # whose id an exec gave to another thread
                place = new_thread(threads, thread_of, clock, event.subject, max(event.tgid, 0), event.time_ns)
            if place != NEVER:
                threads[place].name = event.other
        elif event.type == MOVED:
            space_of[event.subject] = event.other
    return done


@compiled
def end(ended_ns: int, hints: Numbers, threads: Table, tables: State, out: Out) -> None:
    clock = tables[4]
    for place in range(len(hints)):
        thread = threads[place]
        known = thread.since_ns >= clock[3]
        if thread.doing == DEAD:
            continue
        if thread.doing == UNSEEN and known and hints[place, 0] >= 0:
            _run(thread, hints[place, 0], thread.since_ns, clock)
        if thread.doing == RUNNING:
            _on(out, thread, place, ended_ns)
        elif thread.doing == LOST or not known:
            _unknown(out, thread, place, ended_ns, NEVER)
        elif thread.doing == RUNNABLE:
            row = _off(out, thread, place, PREEMPTED, ended_ns, NEVER)
            row.open |= OPEN_END
        elif thread.doing == UNBORN:
            row = _off(out, thread, place, NEW, ended_ns, NEVER)
            _wake_of(row, thread, thread.since_ns)
            row.open |= OPEN_END
        elif thread.doing == ASLEEP:
            row = _off(out, thread, place, BLOCKED, ended_ns, NEVER)
            row.open |= OPEN_END
            if thread.woken:  # a waking before that may have been of an earlier wait
                _wake_of(row, thread, thread.wake_ns)
        elif thread.wake_ns != NEVER or hints[place, 1] == 1:
            row = _off(out, thread, place, BLOCKED, ended_ns, NEVER)
            row.open |= OPEN_BEGIN | OPEN_END
            if thread.wake_ns != NEVER:
                _wake_of(row, thread, thread.wake_ns)
        else:
            _unknown(out, thread, place, ended_ns, NEVER)
