"""The sizes of the kernel's frames, learned from stacks full of what others left there."""

import struct
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from offwake.format.records import RECORD_SAMPLE
from offwake.recorder.binaries.files import KALLSYMS
from offwake.recorder.stacks.kernel_frames import INTERRUPT, LAST, NEVER, ON_STACK_OF_INTERRUPTS, TO_TOP, KernelFrames
from offwake.recorder.stacks.lessons import Lesson, lessons

TEXT = 0xFFFFFFFF81000000
ENTRY, SYSCALL = TEXT + 0x130, TEXT + 0x500  # behind SYSCALL lies an offset of random size, ENTRY is the topmost word
CONTEXT_KERNEL = 2**64 - 128
KIND = 1
INTERRUPTED = TEXT + 0x210
MODULE = range(2**64 - 2**29, 2**64 - 2**28)


class Kernel:
    """What the programs have been told, and a walk by it as in kernel_stack.bpf.c."""

    def __init__(self) -> None:
        self.frames: dict[int, int] = {}
        self.unsure = False

    def set_frame(self, address: int, step: int) -> None:
        self.frames[address] = step

    def take_unsure(self) -> bool:
        was, self.unsure = self.unsure, False
        return was

    def walk(self, words: list[int], begin: int = KIND) -> list[int] | None:
        address, at, chain = begin, 0, list[int]()
        while step := self.frames.get(address, 0):
            if step in (LAST, INTERRUPT):
                return chain
            if step == NEVER:
                return None
            at = len(words) - 1 if step == TO_TOP else at + step // 8
            if at >= len(words):
                return None
            address = words[at]
            chain.append(address)
        return None


class Code:
    """A made-up kernel: which functions call which, and how large the frame at each return address is, in words."""

    def __init__(self, random: Random, functions: int) -> None:
        self.random = random
        self.sizes = {TEXT + 0x1000 * n + 0x40: random.randint(1, 12) for n in range(functions)}
        self.litter = [*self.sizes, ENTRY, SYSCALL, 0, 7]

    def stack(self, calls: list[int]) -> tuple[list[int], list[int]]:
        """Return a stack's words and its chain, leaf first; what no frame has written is what others left there."""
        words = self.random.choices(self.litter, k=9)
        chain = []
        for call in calls:
            words.append(call)
            chain.append(call)
            words += self.random.choices(self.litter, k=self.sizes[call] - 1)
        words.append(SYSCALL)
        words += self.random.choices(self.litter, k=2 * self.random.randint(1, 60))
        words.append(ENTRY)
        return words, [*chain, SYSCALL, ENTRY]

    def depth(self, calls: list[int]) -> int:
        """Return how many of a stack's words lie below SYSCALL."""
        return 9 + sum(self.sizes[call] for call in calls)

    def calls(self) -> list[int]:
        return self.random.choices(list(self.sizes), k=self.random.randint(1, 12))


def lines(path: str) -> list[str]:
    """Return what the made-up kernel says of its symbols, or of its modules."""
    if path != KALLSYMS:
        return [f"module {len(MODULE)} 0 - Live {MODULE.start:#x}"]
    at = INTERRUPTED - TEXT
    symbols = {"_stext": 0, "asm_sysvec_call_function": at - 16, "asm_exc_page_fault": at + 16}
    return ["0000000000000000 A per_cpu", *(f"{TEXT + at:x} T {name}" for name, at in symbols.items())]


def lesson(words: list[int], chain: list[int], shown: int | None = None, of_interrupts: int = 0) -> Lesson:
    """Return a lesson that shows so many of the words, by way of its record."""
    seen, kind = words[:shown], KIND | ON_STACK_OF_INTERRUPTS * (of_interrupts > 0)
    raw = struct.pack("<HHI", kind, of_interrupts, 8 * len(words)) + struct.pack(f"<{len(seen)}Q", *seen)
    raw += bytes(-(len(raw) + 4) % 8)
    addresses = [CONTEXT_KERNEL, TEXT - 0x100, TEXT - 0x80, *chain]  # the program, and what called it
    body = struct.pack(f"<QQQ{len(addresses)}Q", 1, 2, len(addresses), *addresses) + struct.pack("<I", len(raw)) + raw
    [found] = lessons(struct.pack("<IHH", RECORD_SAMPLE, 0, 8 + len(body)) + body)
    return found


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_a_walk_by_what_was_learned_finds_the_chain_or_nothing(seed: int, functions: int) -> None:
    code, kernel = Code(Random(seed), functions), Kernel()
    frames = KernelFrames(kernel, lines)
    for _ in range(60):
        words, chain = code.stack(code.calls())
        assert kernel.walk(words) in (None, chain)
        frames.learn(lesson(words, chain, 400))


def test_what_was_seen_often_enough_is_walked() -> None:
    code, kernel = Code(Random(1), 30), Kernel()
    frames = KernelFrames(kernel, lines)
    for _ in range(300):
        frames.learn(lesson(*code.stack(code.calls())))
    assert (kernel.frames[SYSCALL], kernel.frames[ENTRY]) == (TO_TOP, LAST)
    assert {call: kernel.frames[call] // 8 for call in code.sizes} == code.sizes
    for _ in range(100):
        words, chain = code.stack(code.calls())
        assert kernel.walk(words) == chain


def test_a_frame_of_several_sizes_is_left_to_the_kernel() -> None:
    code, kernel = Code(Random(2), 5), Kernel()
    frames = KernelFrames(kernel, lines)
    first = next(iter(code.sizes))
    for size in [3] * 20 + [4]:
        code.sizes[first] = size
        frames.learn(lesson(*code.stack([first])))
        assert kernel.frames.get(first) in (None, 0, 24, NEVER)
    assert kernel.frames[first] == NEVER


def test_an_end_that_is_not_always_one_is_left_to_the_kernel() -> None:
    """As of a page fault: it can come from a program and from the kernel."""
    code, kernel = Code(Random(3), 5), Kernel()
    frames = KernelFrames(kernel, lines)
    fault, caller = list(code.sizes)[:2]
    for _ in range(10):
        frames.learn(lesson([0] * 9 + [fault] + [0] * code.sizes[fault], [fault]))
    assert kernel.frames[fault] == LAST
    frames.learn(lesson(*code.stack([fault, caller])))
    assert kernel.frames[fault] == NEVER


def test_the_end_of_an_interrupt_is_told_from_that_of_a_system_call() -> None:
    code, kernel = Code(Random(5), 5), Kernel()
    frames = KernelFrames(kernel, lines)
    for _ in range(10):
        frames.learn(lesson([0] * 9 + [INTERRUPTED], [INTERRUPTED]))
        frames.learn(lesson(*code.stack(code.calls())))
    assert (kernel.frames[INTERRUPTED], kernel.frames[ENTRY]) == (INTERRUPT, LAST)


CHANGES = TEXT + 0x700


def changed(code: Code, calls: list[int], under: list[int]) -> tuple[list[int], int]:
    """Return the words of the stack of interrupts, of another that lies under it, and how many are the first one's.

    Whoever changed stacks, and what the stack pointer was, are the topmost words of the first one.
    """
    above = [*code.stack(calls)[0][: code.depth(calls)], CHANGES, 0xFFFFC90000000000]
    return above + under, len(above)


def test_what_an_interrupt_found_is_not_followed() -> None:
    code, kernel = Code(Random(6), 20), Kernel()
    frames = KernelFrames(kernel, lines)
    for _ in range(300):
        calls, found_there = code.calls(), code.calls()
        words, chain = code.stack(found_there)
        words, of_interrupts = changed(code, calls, words)
        frames.learn(lesson(words, [*calls, CHANGES, INTERRUPTED, *chain], of_interrupts=of_interrupts))
    assert kernel.frames[CHANGES] == INTERRUPT and INTERRUPTED not in kernel.frames and SYSCALL not in kernel.frames
    assert {call: kernel.frames[call] // 8 for call in code.sizes} == code.sizes
    calls = code.calls()
    assert kernel.walk(changed(code, calls, [])[0], KIND | ON_STACK_OF_INTERRUPTS) == [*calls, CHANGES]


def test_what_was_called_on_the_stack_of_interrupts_is_followed_to_its_caller() -> None:
    """As of a softirq that a thread's own code runs, to receive what it has sent."""
    code, kernel = Code(Random(7), 20), Kernel()
    frames = KernelFrames(kernel, lines)

    def on_both() -> tuple[list[int], int, list[int]]:
        calls, callers = code.calls(), code.calls()
        words, chain = code.stack(callers)
        words, of_interrupts = changed(code, calls, words[9:])
        return words, of_interrupts, [*calls, CHANGES, *chain]

    for _ in range(300):
        words, of_interrupts, chain = on_both()
        frames.learn(lesson(words, chain, of_interrupts=of_interrupts))
    assert (kernel.frames[CHANGES], kernel.frames[SYSCALL], kernel.frames[ENTRY]) == (16, TO_TOP, LAST)
    for _ in range(100):
        words, _, chain = on_both()
        assert kernel.walk(words, KIND | ON_STACK_OF_INTERRUPTS) == chain


def test_code_that_comes_and_goes_is_not_learned_and_that_of_modules_forgotten() -> None:
    module, program = 2**64 - 2**29 + 0x40, 2**64 - 2**27
    code, kernel = Code(Random(4), 5), Kernel()
    code.sizes |= {module: 5, program: 6}
    frames = KernelFrames(kernel, lines)
    for call in [module, program] * 10:
        frames.learn(lesson(*code.stack([call])))
    assert (kernel.frames[module], kernel.frames[program]) == (5 * 8, NEVER)
    frames.follow()
    assert kernel.frames[module]
    kernel.unsure = True
    frames.follow()
    assert not kernel.frames[module] and kernel.frames[SYSCALL] == TO_TOP


@given(st.binary(max_size=400))
def test_no_bytes_are_too_strange(records: bytes) -> None:
    for one in lessons(records):
        KernelFrames(Kernel(), lines).learn(one)
