"""From ids to frames: what a replay's stacks, threads and names are called in a picture."""

from functools import cached_property
from typing import TYPE_CHECKING

from offwake.analyzer.completions import NOTHING
from offwake.analyzer.interrupts import interrupt_source
from offwake.analyzer.stacks import SNAPSHOT_STACKS
from offwake.analyzer.symbols import KERNEL
from offwake.analyzer.unwind import End
from offwake.analyzer.wakers import A_THREAD, NO_WAKER, Waker

if TYPE_CHECKING:
    from offwake.analyzer.replay import Replay

__all__ = ["Frames", "Naming"]

Frames = tuple[str, ...]

# Outermost frames of a stack that was walked to its beginning.
BEGINNINGS = frozenset(
    {"_start", "start_thread", "main", "__libc_start_main", "__libc_start_call_main", "clone", "clone3", "__clone",
     "_dl_start_user", "_dl_start"}
)  # fmt: skip
MARK, NAMED_LIKE_THE_MARK = "--", "(--)"
"""What stands between a wait and its waker, and what a thread or a function is called whose own name is just that."""
ENTRY_OF_PROGRAM = ("__bpf_trace_", "__traceiter_", "bpf_trace_run")


class Naming:
    """Names stacks and threads of a replay that is complete."""

    def __init__(self, replay: "Replay") -> None:
        self._replay = replay
        self._symbolizer = replay.symbolizer
        self._known: dict[tuple[int, int], Frames] = {}

    def name(self, name: int) -> str:
        """Return a thread's name by its id."""
        return _unlike_the_mark(self._replay.names.texts[name]) if name >= 0 else "[unnamed]"

    def leaf_first(self, stack: int, space: int) -> Frames:
        """Return a stack's frames, leaf first; none for NO_STACK."""
        key = (stack, space)
        if key not in self._known:
            self._known[key] = self._frames(stack, space)
        return self._known[key]

    def root_first(self, stack: int, space: int) -> Frames:
        """Return a stack's frames, root first."""
        return self.leaf_first(stack, space)[::-1]

    def blocked(self, name: int, stack: int, space: int) -> Frames:
        """Return a target's name and the stack at which it blocked, root first."""
        return self.name(name), *(self.root_first(stack, space) or ("[no stack]",))

    def waker(self, waker: Waker) -> Frames:
        """Return a waker's frames, leaf first, and who it was: a thread, an interrupt's source, an idle CPU, or nobody."""
        name, stack, space, idle_cpu, fired = waker
        if idle_cpu == NO_WAKER:
            return ("[open]",)
        frames = self.leaf_first(stack, space)
        if cut := interrupt_source(frames):
            length, source = cut
            return (*frames[:length], source if fired == NOTHING else str(self._replay.ends.end(fired)))
        return (*frames, f"swapper/{idle_cpu}" if idle_cpu >= 0 else self.name(name))

    def is_thread(self, waker: Waker) -> bool:
        """Tell whether a waking was a thread's own doing: not an idle CPU's, and not that of an interrupt on top of it."""
        _, stack, space, idle_cpu, _ = waker
        return idle_cpu == A_THREAD and interrupt_source(self.leaf_first(stack, space)) is None

    def ended(self, stack: int, space: int) -> End | None:
        """Tell where a stack's user part ended, seen from its leaf; None when it has none."""
        addresses = self._replay.stacks.addresses(stack)
        if stack in self._replay.whole.ended:
            end = self._replay.whole.ended[stack]
        elif addresses and addresses[-1] < KERNEL:
            end = End.NO_FRAME_POINTER
        else:
            return None
        begins = end != End.LOST and self.leaf_first(stack, space)[-1] in BEGINNINGS
        return End.WHOLE if begins else end

    @cached_property
    def snapshot_stacks(self) -> list[Frames]:
        """The kernel stacks of threads that slept throughout, leaf first."""
        return [tuple(f"{frame}_[k]" for frame in stack) for stack in self._replay.snapshot_stacks]

    def _frames(self, stack: int, space: int) -> Frames:
        if stack <= SNAPSHOT_STACKS:
            return self.snapshot_stacks[SNAPSHOT_STACKS - stack]
        if stack < 0:
            return ()
        frames = self._symbolizer.frames(self._replay.stacks.addresses(stack), space)
        first = next((i for i, frame in enumerate(frames) if not frame.startswith(ENTRY_OF_PROGRAM)), 0)
        return tuple(map(_unlike_the_mark, frames[first:]))


def _unlike_the_mark(name: str) -> str:
    return NAMED_LIKE_THE_MARK if name == MARK else name
