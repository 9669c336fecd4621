"""A tiny scheduler that knows the truth: threads run small programs on a few CPUs, and every event is written down.

It keeps each life as it happens (`lives`), never by reading its own events, so that `truth` can say what an
analyzer should find. It imports nothing of offwake.

What the kernel does, this does too: a waking is written on the waker's CPU while the waker is current there; a thread
that goes to sleep first sets its state and leaves the CPU a little later, so that it can be preempted or woken in
between; an interrupt's waking lands on whatever runs on that CPU. Events may tie, but those of one thread never do.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import TypeVar

from tests.events import (
    DEAD,
    IDLE,
    Comm,
    Event,
    Exit,
    Fork,
    Known,
    Sample,
    Stack,
    Switch,
    Trace,
    WakeupNew,
    Waking,
    state_letter,
)
from tests.lives import Change, Ending, Life, Wait, Wakeup
from tests.programs import Block, Program, Rename, Run, Spawn, Wake, Workload

__all__ = ["Simulator"]

START_NS = 1_000_000_000
SLICE_NS = 300
SAMPLE_EVERY_NS = 211
FIRST_TID = 1000
MOST_THREADS = 50
E = TypeVar("E", bound=Event)

IDLE_LOOP: Stack = ("do_idle_[k]", "cpuidle_enter_[k]")
IDLE_WAKES: Stack = ("do_idle_[k]", "nohz_run_idle_balance_[k]", "try_to_wake_up_[k]")
INTERRUPTS: dict[str, Stack] = {
    "[timer]": ("asm_sysvec_apic_timer_interrupt_[k]", "hrtimer_interrupt_[k]", "hrtimer_wakeup_[k]"),
    "[block device]": ("asm_common_interrupt_[k]", "virtblk_done_[k]", "blk_mq_end_request_[k]"),
}


@dataclass(eq=False)
class Cpu:
    """A CPU, what is current on it (None: idle) and what waits for it."""

    number: int
    current: Life | None = None
    queue: deque[Life] = field(default_factory=deque)
    turn: int = 0
    resumed_ns: int = 0


class Simulator:
    """Runs one workload. Afterwards: `trace`, all `lives`, and `workload`."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.lives: list[Life] = []
        self.trace = Trace(cpus=workload.cpus)
        self._random = Random(workload.seed)
        self._now = START_NS
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._planned = 0
        self._cpus = [Cpu(number) for number in range(workload.cpus)]
        for program in workload.programs:
            life = self._new_life(program, FIRST_TID + len(self.lives), None)
            self._change(life, "run_queue", 0)
            self._enqueue(life)
        for cpu in self._cpus:
            self._after(self._random.randrange(SAMPLE_EVERY_NS), partial(self._sample, cpu))
        self._advance(lambda: self._now >= START_NS + workload.warm_up_ns and self._settled())
        self.trace.began_ns = self._now + 1
        self.trace.threads = [_known(life) for life in self.lives if life.alive]
        queued = [(life, len(life.changes)) for life in self.lives if life.part in ("run_queue", "preempted")]
        self._advance(
            lambda: (
                self._now > self.trace.began_ns + workload.length_ns
                and all(len(life.changes) > changes for life, changes in queued)
            )
        )
        self.trace.ended_ns = self._now

    # Time

    def _at(self, time_ns: int, action: Callable[[], None]) -> None:
        self._planned += 1
        heapq.heappush(self._agenda, (time_ns, self._planned, action))

    def _after(self, delay_ns: int, action: Callable[[], None]) -> None:
        self._at(self._now + delay_ns, action)

    def _advance(self, done: Callable[[], bool]) -> None:
        """Go on until it is done, with nothing left to happen at the moment of stopping."""
        while not done():
            self._now = self._agenda[0][0]
            while self._agenda[0][0] == self._now:
                heapq.heappop(self._agenda)[2]()

    def _settled(self) -> bool:
        """Return whether /proc would tell the truth: nobody is between setting its state and leaving the CPU."""
        return not any((life.sleep or life.leaving) and life.part == "on_cpu" for life in self.lives)

    def _moment(self) -> int:
        """Draw how long something small takes."""
        return self._random.choice((0, 0, 1, 1, 2, 7, 40))

    # What threads do. A yield takes so much time on a CPU; the thread may be preempted, and migrate, meanwhile.

    def _behave(self, me: Life) -> Iterator[int]:
        for _ in range(me.program.rounds):
            yield 1
            for step in me.program.steps:
                match step:
                    case Run():
                        yield step.ns
                    case Block():
                        yield from self._block(me, step)
                    case Wake():
                        alive = [life for life in self.lives if life.alive]
                        yield from self._send(me, alive[step.target % len(alive)], "send")
                    case Spawn():
                        yield from self._spawn(me, step)
                    case Rename():
                        yield 1 + self._moment()  # the new name never ties with what is done before and after
                        self._rename(me, step.comm)
                        yield 1
        yield from self._exit(me)

    def _block(self, me: Life, step: Block) -> Iterator[int]:
        yield self._moment()
        if step.listens and me.messages:
            me.messages -= 1
            return
        me.sleep = replace(step)  # a copy of its own: `is` tells one sleep from the next
        if step.timeout_ns is not None:
            self._after(step.timeout_ns, partial(self._interrupt, me, me.sleep))
        yield self._moment()
        if not me.sleep:
            return
        me.leaving = True
        yield self._moment()
        while not self._ready(me):
            yield 1
        wait = me.early or Wait(me.blocked_stack(), self._now)
        switch = self._switch(self._cpus[me.cpu], step.state, stack=wait.stack)
        wait.began_ns = self._now
        self._change(me, "run_queue" if me.early else "blocked", switch.cpu, switch, wait)
        if me.early:
            self._enqueue(me)
        me.leaving, me.early = False, None
        yield 0

    def _send(self, me: Life, target: Life, doing: str) -> Iterator[int]:
        yield self._moment()
        while not self._ready(target):
            yield 1
        if target is me or not target.alive:
            return
        if target.sleep and target.sleep.listens:
            stack = (*me.running_stack(doing), "try_to_wake_up_[k]")
            self._wake(target, Waking(self._now, me.cpu, me.tid, target.tid, stack), Ending(stack[::-1], me.comm, me))
        else:
            target.messages += 1

    def _spawn(self, me: Life, step: Spawn) -> Iterator[int]:
        yield self._moment()
        if sum(life.alive for life in self.lives) >= MOST_THREADS:
            return
        child = self._new_life(step.program, self._free_tid(), me)
        child.tgid = child.tid if step.process else me.tgid
        self._write(Fork(self._now, me.cpu, me.tid, child.tid, child.tgid))
        yield self._moment()
        stack = (*me.running_stack("clone"), "wake_up_new_task_[k]")
        born = self._write(WakeupNew(self._now, me.cpu, me.tid, child.tid, child.tgid, child.comm, stack))
        child.birth = Ending(stack[::-1], me.comm, me)
        self._change(child, "run_queue", me.cpu, born)
        self._enqueue(child)

    def _rename(self, me: Life, comm: str) -> None:
        alone = not any(life.tgid == me.tgid for life in self.lives if life is not me and life.part != "dead")
        me.names.append((self._now, comm))
        self._write(Comm(self._now, me.cpu, me.tid, comm, by_exec=alone and me.tid == me.tgid))

    def _exit(self, me: Life) -> Iterator[int]:
        yield self._moment()
        self._write(Exit(self._now, me.cpu, me.tid))
        if me.parent:
            yield from self._send(me, me.parent, "exit")
        me.leaving = True
        yield self._moment()
        while not self._ready(me):
            yield 1
        switch = self._switch(self._cpus[me.cpu], DEAD)
        self._change(me, "dead", switch.cpu, switch)

    def _new_life(self, program: Program, tid: int, parent: Life | None) -> Life:
        comm = parent.comm if parent else program.comm
        life = Life(tid, tid, program, [(self._now, comm)], parent=parent)
        life.behaviour = self._behave(life)
        life.changes.append(Change(self._now, "unborn", 0))
        self.lives.append(life)
        return life

    def _free_tid(self) -> int:
        """Choose an id: new, or one whose thread and process are gone."""
        living = {number for life in self.lives if not _gone(life, self._now) for number in (life.tid, life.tgid)}
        free = [tid for tid in sorted({life.tid for life in self.lives}) if tid not in living]
        return self._random.choice(free) if free else FIRST_TID + len(self.lives)

    # Wake-ups

    def _wake(self, target: Life, waking: Waking, ending: Ending) -> None:
        self._write(waking)
        wait = target.changes[-1].wait if target.part == "blocked" else Wait(target.blocked_stack(), self._now)
        assert wait
        wait.ending = ending
        target.wakeups.append(Wakeup(waking, wait, target.part))
        target.sleep = None
        if target.part == "blocked":
            self._change(target, "run_queue", waking.cpu, waking, wait)
            self._enqueue(target)
        else:
            target.touched_ns = self._now
            target.early = wait if target.leaving else None

    def _interrupt(self, target: Life, sleep: Block) -> None:
        """End a sleep on any CPU where interrupts are enabled, from an interrupt on top of whatever runs there.

        An idle CPU also ends one in its own loop, when it comes out of idleness with something left to do.
        """
        if target.sleep is not sleep:
            return
        cpu = self._random.choice(self._cpus)
        current = cpu.current
        if (current and current.leaving) or not self._ready(target):
            self._after(1, partial(self._interrupt, target, sleep))
            return
        if not current and self._random.random() < 0.3:
            stack, ending = IDLE_WAKES, Ending(IDLE_WAKES[::-1], f"swapper/{cpu.number}")
        else:
            frames = (*INTERRUPTS[sleep.source], "try_to_wake_up_[k]")
            stack = (*(current.running_stack("read") if current else IDLE_LOOP), *frames)
            ending = Ending(frames[::-1], sleep.source)
        self._wake(target, Waking(self._now, cpu.number, current.tid if current else IDLE, target.tid, stack), ending)

    # The scheduler

    def _enqueue(self, life: Life) -> None:
        """Queue a thread on an idle CPU, on its own, or on any."""
        idle = [cpu for cpu in self._cpus if not cpu.current]
        cpu = self._random.choice([*idle, self._cpus[life.cpu], self._random.choice(self._cpus)])
        life.cpu = cpu.number
        cpu.queue.append(life)
        if not cpu.current:
            self._after(self._moment(), partial(self._leave_idle, cpu))
        elif self._random.random() < 0.3:
            self._after(self._moment(), partial(self._preempt, cpu, cpu.turn))

    def _leave_idle(self, cpu: Cpu) -> None:
        if cpu.current or not cpu.queue:
            return
        if any(map(self._ready, cpu.queue)):
            self._switch(cpu)
        else:
            self._after(1, partial(self._leave_idle, cpu))

    def _preempt(self, cpu: Cpu, turn: int) -> None:
        """Take the CPU from the thread that has had it since `turn`, if another waits for it; otherwise look again."""
        me = cpu.current
        if cpu.turn != turn or not me:
            return
        if me.leaving or not self._ready(me) or not any(map(self._ready, cpu.queue)):
            self._after(1 if cpu.queue else SLICE_NS, partial(self._preempt, cpu, turn))
            return
        me.left_ns = max(0, me.left_ns - (self._now - cpu.resumed_ns))
        asleep = me.sleep.state if me.sleep else 0
        preempted = bool(asleep) or self._random.random() < 0.7
        switch = self._switch(cpu, asleep, preempted)
        self._change(me, "preempted", cpu.number, switch)
        cpu.queue.append(me)

    def _switch(self, cpu: Cpu, state: int = 0, preempted: bool = False, stack: Stack = ()) -> Switch:
        """Put the next thread on the CPU. What becomes of the previous one is the caller's."""
        previous, following = cpu.current, self._pick(cpu)
        ids = (previous.tid if previous else IDLE, following.tid if following else IDLE)
        switch = self._write(Switch(self._now, cpu.number, *ids, state, preempted, stack))
        cpu.current = following
        cpu.turn += 1
        if following:
            following.cpu = cpu.number
            self._change(following, "on_cpu", cpu.number, switch)
            self._go_on(cpu)
            self._after(SLICE_NS, partial(self._preempt, cpu, cpu.turn))
        elif cpu.queue:
            self._after(1, partial(self._leave_idle, cpu))
        return switch

    def _pick(self, cpu: Cpu) -> Life | None:
        """Take the next thread from the CPU's queue, or sometimes, if there is none, from another's."""
        others = [other for other in self._cpus if other is not cpu]
        self._random.shuffle(others)
        for source in (cpu, *others) if self._random.random() < 0.3 else (cpu,):
            for life in source.queue:
                if self._ready(life):
                    source.queue.remove(life)
                    return life
        return None

    def _go_on(self, cpu: Cpu) -> None:
        """Let the current thread use its time, then do what it does next."""
        life, turn = cpu.current, cpu.turn
        assert life
        cpu.resumed_ns = self._now

        def act() -> None:
            if cpu.turn != turn:
                return
            life.left_ns = 0
            left_ns = next(life.behaviour, 0)
            life.left_ns = left_ns
            if cpu.turn == turn:
                self._go_on(cpu)

        self._after(life.left_ns, act)

    # Writing down

    def _ready(self, life: Life) -> bool:
        """Return whether an event of this thread would be later than its last one."""
        return life.touched_ns < self._now

    def _change(self, life: Life, part: str, cpu: int, event: Event | None = None, wait: Wait | None = None) -> None:
        life.changes.append(Change(self._now, part, cpu, event, wait))
        life.touched_ns = self._now

    def _write(self, event: E) -> E:
        self.trace.events.append(event)
        return event

    def _sample(self, cpu: Cpu) -> None:
        tid, stack = (cpu.current.tid, cpu.current.running_stack("work")) if cpu.current else (IDLE, IDLE_LOOP)
        self._write(Sample(self._now, cpu.number, tid, stack))
        self._after(SAMPLE_EVERY_NS, partial(self._sample, cpu))


def _gone(life: Life, now_ns: int) -> bool:
    return life.part == "dead" and life.changes[-1].time_ns < now_ns


def _known(life: Life) -> Known:
    state = state_letter(life.sleep.state) if life.sleep else "R"
    stack = tuple(frame for frame in life.blocked_stack() if frame.endswith("_[k]")) if life.sleep else ()
    return Known(life.tid, life.tgid, life.comm, state, life.cpu, stack)
