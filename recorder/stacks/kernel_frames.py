"""How large the kernel's frames are, learned from stacks that the kernel has walked, and told to the BPF programs.

The kernel's code keeps no frame pointers, and its unwind tables are not for others to read. But from a return address to the
next one is always as far: a lesson is a stack's words and the call chain that the kernel made of them, and leaves few
distances that it can be. A few lessons leave one. Where none is left, as behind an offset that the kernel chooses at
random, the programs are told so.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from typing import Protocol

from offwake.recorder.binaries.files import KALLSYMS, MODULES
from offwake.recorder.stacks.lessons import Lesson

__all__ = ["INTERRUPT", "LAST", "NEVER", "ON_STACK_OF_INTERRUPTS", "TO_TOP", "KernelFrames"]

TO_TOP, LAST, NEVER, INTERRUPT = 1, 2, 3, 4  # as in kernel_stack.bpf.c, in place of a step
ON_STACK_OF_INTERRUPTS = 0x8000  # beside the kind of event
LESSONS_NEEDED, LESSONS_ENOUGH = 8, 64  # what so many do not tell, more will not
TEXT_AT_MOST = 64 << 20
INTERRUPT_ENTRIES, SYMBOLS_OF_ENTRIES = ("asm_common_interrupt", "asm_sysvec_"), 256  # arch/x86/entry


class _Kernel(Protocol):
    def set_frame(self, address: int, step: int) -> None: ...

    def take_unsure(self) -> bool: ...


@dataclass
class _Frame:
    """What is known of the frame that a return address lies in."""

    steps: set[int] | None = None
    """What the distance to the next return address can be, in bytes; None before the first lesson."""
    to_top: bool = True
    """Whether the next one is always the last one, and can be the topmost word of the stack."""
    is_last: bool | None = None
    is_interrupt: bool = False
    """Whether what follows is no longer the interrupt, but what was interrupted."""
    lessons: int = 0
    told: int = 0


def _lines(path: str) -> Iterator[str]:
    with suppress(OSError), open(path) as file:
        yield from file


@dataclass
class KernelFrames:
    """Learns from lessons and tells `kernel` what it has learned. `lines` gives those of KALLSYMS and MODULES."""

    kernel: _Kernel
    lines: Callable[[str], Iterable[str]] = _lines
    _frames: dict[int, _Frame] = field(default_factory=dict)
    _has_looked: bool = False
    _core: range = range(0)
    _entries: list[range] = field(default_factory=list)
    _entry_text: range = range(0)
    _modules: list[range] = field(default_factory=list)

    def learn(self, lesson: Lesson) -> None:
        """Take a lesson."""
        if not self._has_looked:
            self._has_looked = True
            self._core, self._entries = _code(self.lines(KALLSYMS))
            self._entry_text = range(self._entries[0].start, self._entries[-1].stop) if self._entries else range(0)
            self._modules = list(_modules(self.lines(MODULES)))
        if not self._core:  # kptr_restrict hides it: the kernel walks, and gives no more lessons
            self._frames[lesson.kind] = _Frame(told=NEVER)
            self.kernel.set_frame(lesson.kind, NEVER)
            return
        cut = self._cut(lesson)
        ways = [lesson.kind, *cut.chain]
        if self._is_as_told(ways, cut):
            return
        for index, (places, following) in enumerate(self._places(ways, cut.words, cut.number)):
            is_last = index == len(cut.chain)
            frame = self._frames.setdefault(ways[index], _Frame())
            frame.lessons += 1
            if frame.is_last is None:
                frame.is_last = is_last
            if frame.is_last != is_last or not self._is_stable(ways[index]):
                frame.steps, frame.to_top, frame.is_last = set(), False, False
            elif is_last:
                frame.is_interrupt = len(cut.chain) < len(lesson.chain) or self._is_entry(ways[index])
            else:
                steps = {8 * (to - at) for at in places for to in following if to > at}
                frame.steps = steps if frame.steps is None else frame.steps & steps
                frame.to_top &= index + 1 == len(cut.chain) and cut.number // 8 - 1 in following
            self._tell(ways[index], frame)

    def _cut(self, lesson: Lesson) -> Lesson:
        """Return a lesson without what was interrupted.

        The topmost word of the stack of interrupts says where the stack under it was left, and the one below returns to
        whoever changed stacks: if that was an interrupt, its entry lies under it, where no way leads from there.
        """
        chain, words, change = lesson.chain, lesson.words, lesson.of_interrupts - 2
        entry = next((index for index, address in enumerate(chain) if self._is_entry(address)), len(chain))
        has_changed = 0 < entry < len(chain) and 0 < change < len(words) and chain[entry - 1] == words[change]
        return replace(lesson, chain=chain[: entry if has_changed else entry + 1])

    def _is_entry(self, address: int) -> bool:
        return address in self._entry_text and any(address in entry for entry in self._entries)

    def _is_as_told(self, ways: list[int], lesson: Lesson) -> bool:
        """Whether a walk by what the programs have been told finds the chain of a lesson."""
        at, top = 0, lesson.number // 8 - 1
        for way, following in zip(ways, [*lesson.chain, None], strict=True):
            told = self._frames[way].told if way in self._frames else 0
            if told in (LAST, INTERRUPT):
                return following is None
            at = top if told == TO_TOP else at + told // 8 if told > INTERRUPT else len(lesson.words)
            if at >= len(lesson.words) or lesson.words[at] != following:
                return False
        return False

    def follow(self) -> None:
        """Forget what was learned of modules if one was unloaded: another may have come to lie at its place."""
        if self.kernel.take_unsure():
            for address in [address for address in self._frames if address not in self._core and address > 0xFFFF]:
                del self._frames[address]
                self.kernel.set_frame(address, 0)
            self._modules = list(_modules(self.lines(MODULES)))

    def _places(self, ways: list[int], words: tuple[int, ...], depth: int) -> Iterator[tuple[set[int], set[int]]]:
        """Yield for each return address the places where it may lie, and those where the next one may."""
        found: dict[int, set[int]] = {way: set() for way in ways[1:]}
        for place, word in enumerate(words):
            if word in found:
                found[word].add(place)
        forward = [{0}]
        for before, way in zip(ways, ways[1:], strict=False):
            first = min(forward[-1], default=len(words))
            frame = self._frames.get(before)
            places = {place for place in found[way] if place > first}
            if frame and frame.told > INTERRUPT and (known := {at + frame.told // 8 for at in forward[-1]} & places):
                places = known
            if not places:
                if depth > 8 * len(words):  # it lies above what the lesson shows
                    break
                yield from zip(forward, [*forward[1:], set()], strict=True)
                return
            forward.append(places)
        for index in range(len(forward) - 2, -1, -1):
            last = max(forward[index + 1])
            forward[index] = {place for place in forward[index] if place < last}
        yield from zip(forward, forward[1:], strict=False)
        if len(forward) == len(ways):
            yield forward[-1], set()

    def _is_stable(self, address: int) -> bool:
        """Whether the kernel's own code or a module's lies at an address, and not a program that comes and goes."""
        return address <= 0xFFFF or address in self._core or any(address in module for module in self._modules)

    def _tell(self, address: int, frame: _Frame) -> None:
        step = 0
        if frame.steps == set() and not frame.to_top:
            step = NEVER
        elif frame.lessons >= LESSONS_NEEDED:
            if frame.is_last:
                step = INTERRUPT if frame.is_interrupt else LAST
            elif frame.to_top:
                step = TO_TOP
            elif frame.steps and len(frame.steps) == 1:
                (step,) = frame.steps
            elif frame.lessons >= LESSONS_ENOUGH:
                step = NEVER
        if step != frame.told:
            frame.told = step
            self.kernel.set_frame(address, step)


def _code(symbols: Iterable[str]) -> tuple[range, list[range]]:
    """Return where the kernel's own code lies, or more, but no module; and the entries of interrupts that lie at its start.

    An entry that is linked elsewhere is taken for a system call's: then more is sent of a stack than tells anything.
    """
    text = (symbol for line in symbols if (symbol := line.split())[1] in "tT" and int(symbol[0], 16))
    first = [(int(address, 16), name) for address, _, name, *_ in islice(text, SYMBOLS_OF_ENTRIES)]
    entries = [range(at, end) for (at, name), (end, _) in pairwise(first) if name.startswith(INTERRUPT_ENTRIES)]
    return (range(first[0][0], first[0][0] + TEXT_AT_MOST) if first else range(0)), entries


def _modules(modules: Iterable[str]) -> Iterator[range]:
    for line in modules:
        _, size, *_, address = line.split()[:6]
        yield range(int(address, 16), int(address, 16) + int(size))
