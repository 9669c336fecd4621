"""A recording, opened for reading: its facts, and where a pass over it begins."""

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.evidence import Evidence, gather
from offwake.analyzer.facts import facts, notices
from offwake.analyzer.idle import IdleRules
from offwake.analyzer.narrowed import Narrowed, members_of
from offwake.analyzer.replay import Replay
from offwake.analyzer.shapes import (
    CPUS_AT_MOST,
    FOOTER,
    SNAPSHOT,
    SYMBOLS,
    UNWIND,
    require,
    require_keyframe,
    require_tick,
    require_time,
)
from offwake.analyzer.unwind import ROWS
from offwake.analyzer.verdicts import Verdicts, judge
from offwake.errors import DamagedRecording
from offwake.format.layout import Kind
from offwake.format.reader import TraceReader

__all__ = ["Recording"]


FIRST_SEGMENT = 1
UNWIND_BYTES_AT_MOST, UNWIND_PART_BYTES = 96 << 20, 512  # 24 bytes a row; what a part takes besides
DAY_NS = 86_400 * 1_000_000_000
LONGEST_NS = 100 * DAY_NS


class Recording:
    """One .offwake file. Raises NotARecording, UnsupportedVersion or DamagedRecording where nothing can be read of it.

    `began_ns` and `ended_ns` (CLOCK_MONOTONIC) bound what is analyzed: everything was attached at the first, everything
    was still attached at the second. Of a recording that was killed, the last second that was written whole counts; of
    segments cut out of one (`is_cut`), the moment at which the first was opened.
    """

    def __init__(self, path: Path, reader: TraceReader) -> None:
        self.reader = reader
        self._replay: Replay | None = None
        self._verdicts: dict[IdleRules, Verdicts] = {}
        keyframe = next((values for values in self._values(Kind.KEYFRAME)), None)
        if keyframe is None:
            raise DamagedRecording(f"{path}: no keyframe is left in it; nothing can be said about its events")
        self.keyframe = require_keyframe(keyframe, f"{path}: keyframe")
        tick = next(self._values(Kind.TICK, last_first=True), None)
        self.last_tick: dict[str, Any] = require_tick(tick, f"{path}: last tick") if tick else {}
        snapshot = require(next(self._values(Kind.SNAPSHOT), {}), {}, f"{path}: snapshot")
        snapshot = {key: snapshot.get(key, []) for key in SNAPSHOT}
        self.snapshot: dict[str, Any] = require(snapshot, SNAPSHOT, f"{path}: snapshot")
        self.symbols: dict[str, list[Any]] = {"kernel": [], "files": [], "jit": []}
        for values in self._values(Kind.SYMBOLS):
            values = require(values, {}, f"{path}: symbols")
            values = require(dict.fromkeys(self.symbols, []) | values, SYMBOLS, f"{path}: symbols")
            for what, rows in self.symbols.items():
                rows += values[what]
        self.unwind_rows = self._unwind_rows(path)
        self.is_cut = reader.blocks[0].segment != FIRST_SEGMENT
        self.began_ns: int = keyframe["clocks"]["monotonic_ns"] if self.is_cut else keyframe["began_ns"]
        footer: dict[str, Any] = require(reader.footer or {}, {}, f"{path}: footer")
        shape = {key: part for key, part in FOOTER.items() if key in footer}
        self.footer: dict[str, Any] = require(footer, shape, f"{path}: footer")
        ended_ns = footer.get("ended_ns") or self.last_tick.get("time_ns", self.began_ns)
        self.ended_ns: int = max(require_time(ended_ns, f"{path}: end"), self.began_ns)
        if self.duration_ns > LONGEST_NS:  # else the sum of a thousand threads' waits might be more than 63 bits hold
            raise DamagedRecording(f"{path}: end: nobody records for {self.duration_ns // DAY_NS} days")
        sideband = [event["sample_type"] for event in keyframe["events"] if event["name"] == "side-band"]
        self.sideband_type: int = sideband[0] if sideband else 0

    @staticmethod
    def open(path: Path) -> "Recording":
        """Open a recording."""
        reader = TraceReader.open(path)
        try:
            return Recording(path, reader)
        except BaseException:
            reader.close()
            raise

    @property
    def duration_ns(self) -> int:
        """How long the recording is."""
        return int(self.ended_ns - self.began_ns)

    @property
    def began_realtime_ns(self) -> int:
        """Wall-clock time of the beginning, in nanoseconds since 1970."""
        clocks = self.keyframe["clocks"]
        return int(clocks["realtime_ns"] - clocks["monotonic_ns"] + self.began_ns)

    @property
    def cpus(self) -> int:
        """One more than the highest number of a CPU that was there at the beginning, or came later."""
        streams = {block.stream for block in self.reader.blocks if block.kind == Kind.EVENTS}
        highest: int = max(0, *self.keyframe["cpus"], *(cpu for cpu in streams if cpu < CPUS_AT_MOST))
        return highest + 1

    @property
    def listeners(self) -> frozenset[int]:
        """The processes that served others at the end (docs/format.md, SNAPSHOT); none in older recordings."""
        return frozenset(self.snapshot["listeners"])

    @cached_property
    def narrowed(self) -> Narrowed:
        """What the recording was narrowed to."""
        return Narrowed.of(self.keyframe)

    @cached_property
    def members(self) -> NDArray[np.int64]:
        """The ids of the threads that a narrowed recording is about, in order. Found in a pass of its own."""
        return members_of(self)

    @property
    def recorder_pid(self) -> int:
        """The process that recorded."""
        return int(self.keyframe["recorder_pid"])

    @property
    def redacted(self) -> bool:
        """Whether command lines, host names and IP addresses were left out."""
        return bool(self.keyframe.get("redacted", False))

    @property
    def own_pids(self) -> list[int]:
        """The process that recorded and its helper: their threads are in no view and no table."""
        return [self.recorder_pid, *self.keyframe["helper_pids"]]

    def info(self) -> dict[str, Any]:
        """Return what the recording holds and how complete it is (`offwake info --json`)."""
        return self._facts

    def notices(self) -> list[str]:
        """Return sentences on what is not as it should be with the file, without going through its events."""
        return list(notices(self))

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return facts(self)

    def replay(self) -> Replay:
        """Begin a pass over the recording, or go again over one that is in memory."""
        if self._replay is None or not self._replay.kept:
            self._replay = Replay(self)
        return self._replay

    def idle(self, rules: IdleRules) -> Verdicts:
        """Return what rules say of all waits. What they judge by is gathered once, in a pass of its own."""
        if rules not in self._verdicts:
            self._verdicts[rules] = judge(self._evidence, rules)
        return self._verdicts[rules]

    @cached_property
    def _evidence(self) -> Evidence:
        return gather(self)

    def _unwind_rows(self, path: Path) -> dict[tuple[str, bytes], NDArray[np.void]]:
        """Return the unwind tables by file, as Unwinder takes them."""
        parts: dict[tuple[str, bytes], list[bytes]] = {}
        room = UNWIND_BYTES_AT_MOST
        for values in self._values(Kind.UNWIND):
            for name, identity, _, rows in require(values, UNWIND, f"{path}: unwind tables")["files"]:
                room -= len(rows) + UNWIND_PART_BYTES
                if room < 0:
                    raise DamagedRecording(f"{path}: unwind tables: more than {UNWIND_BYTES_AT_MOST} bytes of them")
                parts.setdefault((name, identity), []).append(rows[: len(rows) - len(rows) % ROWS.itemsize])
        return {file: np.frombuffer(b"".join(rows), ROWS) for file, rows in parts.items()}

    def _values(self, kind: Kind, last_first: bool = False) -> Any:
        blocks = reversed(self.reader.blocks) if last_first else self.reader.blocks
        for block in blocks:
            if block.kind == kind and (values := self.reader.values(block)) is not None:
                yield values

    def close(self) -> None:
        """Close the file, and let go of what was kept of it in memory."""
        self.reader.close()
        self._replay = None
        self._verdicts.clear()

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
