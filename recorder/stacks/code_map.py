"""Where processes have their code, and which are Pythons, told to the kernel.

By the code a return address is told from other numbers on a stack.

A process's map is small enough to be looked up for every event. It has a bit for each 64 KiB of addresses, which is one for
all those 256 MiB apart from them too, and a bit for each of those regions of 256 MiB, which is one for those 128 GiB apart
too. What lies near code is told exactly; what lies elsewhere is seldom taken for code. A process that is not known yet, or
no longer, has code anywhere: more is kept then, and nothing missed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Protocol

from offwake.recorder.binaries.files import FileKeeper
from offwake.recorder.host.processes import ProcessTable
from offwake.recorder.stacks.python import Interpreter, Pythons
from offwake.recorder.stacks.user_frames import UserFrames

__all__ = ["ANYWHERE", "CODE_ANYWHERE", "CODE_WORDS", "Code", "CodeMaps", "code_map"]

# As in bpf/user_stack.bpf.c, struct code.
GRANULE_BITS, GRANULES = 16, 4096
REGION_BITS, REGIONS = 28, 512
CODE_WORDS = (GRANULES + REGIONS) // 64
WORD = (1 << 64) - 1
USER_ADDRESSES = 1 << 47
CODE_ANYWHERE = [WORD] * CODE_WORDS
SETTLED_NS = 250_000_000
CODE = Struct(f"<2IQ{CODE_WORDS}Q")
IS_TRUE, IS_PYTHON = 1, 2


@dataclass(frozen=True)
class Code:
    """Where a process has its code, whether it may be a Python, and the space of its addresses (user_frames.py; 0: none)."""

    words: list[int]
    may_be_python: bool = True
    space: int = 0

    def packed(self) -> bytes:
        """Return struct code of user_stack.bpf.c."""
        return CODE.pack(IS_TRUE | IS_PYTHON * self.may_be_python, self.space, 0, *self.words)


ANYWHERE = Code(CODE_ANYWHERE)


class _Kernel(Protocol):
    @property
    def user_stack_bytes(self) -> int: ...

    def set_code(self, tgid: int, code: Code | None) -> None: ...

    def set_python(self, tgid: int, interpreter: Interpreter | None) -> None: ...


class CodeMaps:
    """Keeps what the kernel knows as the process table has the mappings.

    A process that maps more code is unknown again, at once, until it has mapped nothing for a while: what is told a moment
    too late would make the kernel miss what it has mapped since.
    """

    def __init__(
        self, program: _Kernel, table: ProcessTable, keeper: FileKeeper, frames: UserFrames | None = None
    ) -> None:
        self._program, self._table, self._pythons, self._frames = program, table, Pythons(keeper), frames
        self._changed: dict[int, int] = {}  # when, of those that are unknown

    def follow(self, now_ns: int) -> None:
        """Take back what was told of processes whose mappings have changed since the last time, and tell of settled ones."""
        changed = self._table.take_changed()
        if not self._program.user_stack_bytes:
            return
        for tgid in changed:
            self._program.set_code(tgid, None)
            if self._frames:
                self._frames.leave(tgid)
            self._program.set_python(tgid, self._pythons.find(self._table.files(tgid)))
            self._changed[tgid] = now_ns
        self.tell([tgid for tgid, since_ns in self._changed.items() if now_ns - since_ns >= SETTLED_NS])

    def begin(self) -> None:
        """Tell of all processes that the table has now."""
        changed = self._table.take_changed()
        self.tell(changed)
        for tgid in changed if self._program.user_stack_bytes else ():
            if interpreter := self._pythons.find(self._table.files(tgid)):
                self._program.set_python(tgid, interpreter)

    def tell(self, tgids: Iterable[int]) -> None:
        """Tell where processes have their code, if the kernel is to know."""
        for tgid in tgids if self._program.user_stack_bytes else ():
            self._changed.pop(tgid, None)
            if ranges := self._table.executable(tgid):
                may_be_python = self._pythons.find(self._table.files(tgid)) is not None
                space = self._frames.enter(tgid) if self._frames else 0
                self._program.set_code(tgid, Code(code_map(ranges), may_be_python, space))


def code_map(ranges: Iterable[tuple[int, int]]) -> list[int]:
    """Return the map of code at these addresses (start, end), as words of 64 bits: granules, then regions."""
    granules = regions = 0
    for start, end in ranges:
        if start >= USER_ADDRESSES:  # vsyscall
            continue
        first, last = start >> GRANULE_BITS, (end - 1) >> GRANULE_BITS
        if last - first >= GRANULES:
            return CODE_ANYWHERE
        run = ((1 << (last - first + 1)) - 1) << first % GRANULES
        granules |= run & ((1 << GRANULES) - 1) | run >> GRANULES
        for region in range(start >> REGION_BITS, ((end - 1) >> REGION_BITS) + 1):
            regions |= 1 << region % REGIONS
    bits = regions << GRANULES | granules
    return [bits >> 64 * word & WORD for word in range(CODE_WORDS)]
