"""What a recording was narrowed to: whose stacks it has."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.decode import Decoder
from offwake.analyzer.stacks import StackTable
from offwake.format.layout import Kind

if TYPE_CHECKING:
    from offwake.analyzer.recording import Recording

__all__ = ["Narrowed", "members_of"]

IS_MEMBER = np.uint16(2)  # in the flags of a switch: prev is one


@dataclass(frozen=True)
class Narrowed:
    """What was asked for when a recording was made, as its keyframe has it; older recordings are of the whole machine.

    `members` are the threads that were meant when it began; their children are meant too.
    """

    pids: tuple[int, ...] = ()
    tids: tuple[int, ...] = ()
    cgroups: tuple[str, ...] = ()
    members: tuple[int, ...] = ()
    command: bool = False
    wakers: bool = True

    @staticmethod
    def of(keyframe: dict[str, Any]) -> "Narrowed":
        """Read it from a keyframe."""
        value = keyframe["narrowing"]
        lists = {name: tuple(value[name]) for name in ("pids", "tids", "cgroups", "members")}
        return Narrowed(**lists, command=value["command"], wakers=value["wakers"])

    def __bool__(self) -> bool:
        return bool(self.pids or self.tids or self.cgroups or self.command)

    @property
    def members_only(self) -> bool:
        """Whether nothing is in the recording of anybody else."""
        return bool(self) and not self.wakers

    def words(self) -> str:
        """Say whose stacks the recording has."""
        if not self:
            return "everything" if self.wakers else "everything, but no stacks of wakers"
        return f"{', '.join(self._whom())}{' and whoever woke them' if self.wakers else ' alone'}"

    def _whom(self) -> Iterator[str]:
        yield from (f"process {pid}" for pid in self.pids)
        yield from (f"thread {tid}" for tid in self.tids)
        yield from (f"cgroup {path}" for path in self.cgroups)
        if self.command:
            yield "the command"


def members_of(recording: "Recording") -> NDArray[np.int64]:
    """Return the ids of the threads that a recording is narrowed to, in order: meant at first, or marked since."""
    decoder = Decoder(recording.keyframe, StackTable())
    [switch] = [kind for kind, layout in decoder.layouts.items() if layout.name == "sched_switch"] or [-1]
    found = set(recording.narrowed.members)
    for block in recording.reader.blocks:
        if block.kind == Kind.KEYFRAME and (keyframe := recording.reader.values(block)) is not None:
            decoder.learn(keyframe)
        elif block.kind == Kind.EVENTS and (span := recording.reader.payload(block)) is not None:
            if rows := decoder.decode(span, block.stream).get(switch):
                found.update(np.unique(rows.payload["prev"][rows.payload["flags"] & IS_MEMBER != 0]).tolist())
    return np.array(sorted(found), np.int64)
