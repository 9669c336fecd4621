"""The simulator's books: what became of every thread, kept as it happens and never read from events."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.events import Event, Stack, Waking
from tests.programs import Block, Program

__all__ = ["Change", "Ending", "Life", "Wait", "Wakeup"]

SYSCALL: Stack = ("main", "entry_SYSCALL_64_[k]", "do_syscall_64_[k]")
KTHREAD: Stack = ("ret_from_fork_[k]", "kthread_[k]")


@dataclass(frozen=True)
class Ending:
    """What ended a wait, or began a life: the stack of the waking, leaf to root, and the waker's name at that moment.

    `by` is the thread that did it; an interrupt, an idle CPU and the end of the recording are no threads.
    """

    stack: Stack = ()
    name: str = "[open]"
    by: "Life | None" = field(default=None, repr=False)  # its waits were ended by others, whose waits were, and so on

    @property
    def frames(self) -> Stack:
        """Return it as pictures show it."""
        return (*self.stack, self.name)


@dataclass(eq=False)
class Wait:
    """One sleep: with which stack, since when, and what ended it."""

    stack: Stack
    began_ns: int
    ending: Ending = Ending()


@dataclass(frozen=True)
class Wakeup:
    """A waking of a thread that was in this part of its life; only a blocked one's ends a wait that has begun."""

    event: Waking
    wait: Wait
    part: str


@dataclass(frozen=True)
class Change:
    """From this time on a thread is in this part of its life, and this event shows it."""

    time_ns: int
    part: str
    cpu: int
    event: Event | None = None
    wait: Wait | None = None


@dataclass(eq=False)
class Life:
    """A thread from its beginning to its end; its id may be another's afterwards."""

    tid: int
    tgid: int
    program: Program
    names: list[tuple[int, str]]
    changes: list[Change] = field(default_factory=list)
    wakeups: list[Wakeup] = field(default_factory=list)
    parent: "Life | None" = None
    birth: Ending | None = None  # what its parent did then
    cpu: int = 0  # where it is, was or is queued
    behaviour: Iterator[int] = field(default_factory=lambda: iter(()))
    left_ns: int = 0
    messages: int = 0
    sleep: Block | None = None  # set: the thread's state says asleep, whether it has left the CPU or not
    leaving: bool = False  # inside schedule(): the sleep can no longer be called off, interrupts are disabled
    early: Wait | None = None  # woken while leaving
    touched_ns: int = 0  # when its last event was

    @property
    def part(self) -> str:
        """In which part of its life the thread is."""
        return self.changes[-1].part

    @property
    def alive(self) -> bool:
        """Whether the thread's life has begun and not ended."""
        return self.part not in ("unborn", "dead")

    @property
    def comm(self) -> str:
        """The thread's present name."""
        return self.names[-1][1]

    def blocked_stack(self) -> Stack:
        """Return the stack with which the thread goes to sleep."""
        state = self.sleep.state if self.sleep else 0
        above = KTHREAD if self.program.kernel else (*SYSCALL, f"sys_wait_{state:x}_[k]")
        return (*above, "schedule_[k]")

    def running_stack(self, doing: str) -> Stack:
        """Return the stack of the thread at work."""
        return (*KTHREAD, f"{doing}_[k]") if self.program.kernel else (*SYSCALL, f"sys_{doing}_[k]")
