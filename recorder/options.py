"""What a recording is asked for, how it is doing, and what came of it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from offwake.recorder.members import Narrowing
from offwake.recorder.output.budget import Budgets
from offwake.recorder.output.flight import FlightLog
from offwake.recorder.output.own_cost import OwnCost
from offwake.recorder.programs.program_text import Build
from offwake.recorder.programs.trigger import Trigger
from offwake.recorder.sources import Source
from offwake.recorder.start import Start

__all__ = ["Options", "Progress", "Result"]


@dataclass(frozen=True)
class Options:
    """What to record. Without `duration_s` and `command`, until a signal.

    With `flight_s`, only so many seconds are kept, in at most `budgets.max_bytes` of memory; dumps are named after `output`.

    `user_stacks`: "fp", the kernel walks them by frame pointers; "dwarf", `stack_bytes` of them (a power of two) are looked
    through for what an unwinder needs; "auto", that where this machine and its kernel can.
    """

    output: Path
    sources: list[Source]
    duration_s: float | None = None
    buffer_bytes: int = 64 << 20
    command: list[str] = field(default_factory=list)
    user_stacks: str = "auto"
    stack_bytes: int = 64 << 10
    narrowing: Narrowing = Narrowing()
    min_block_ns: int = 0
    trigger: Trigger | None = None
    numbered: bool = False
    walked: bool = False
    budgets: Budgets = field(default_factory=Budgets)
    sync: bool = False
    flight_s: float | None = None
    start: Start | None = None
    redact: bool = False

    def build(self) -> Build:
        """Return what the programs are to do."""
        return Build(
            recorder=os.getpid(),
            user_stack_bytes=0 if self.user_stacks == "fp" else self.stack_bytes,
            narrowed=bool(self.narrowing),
            wakers=self.narrowing.wakers,
            min_block_ns=self.min_block_ns,
            trigger=self.trigger,
            numbered=self.numbered,
            walked=self.walked,
            redacted=self.redact,
        )


@dataclass(frozen=True)
class Progress:
    """How a running capture is doing; with `elapsed_s` below 0, how long until it begins."""

    elapsed_s: float
    events: int = 0
    lost: int = 0
    bytes_written: int = 0
    own_cpu_s: float = 0.0


@dataclass(frozen=True)
class Result:
    """What a finished capture came to. `events` and `lost` count by source and by cause."""

    path: Path
    reason: str
    duration_s: float
    events: dict[str, int]
    lost: dict[str, int]
    unavailable: dict[str, str]
    own: OwnCost
    flight: FlightLog | None
    command_status: int
