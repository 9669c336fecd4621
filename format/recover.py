"""recover: a whole file from a recording that was killed or damaged.

Every sound block is copied as it is. Only its number in the file is new, and where blocks were lost, numbers are left
out, so that the new file still says what is missing.
"""

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offwake.errors import OutputError
from offwake.format.layout import Kind
from offwake.format.locate import Damage
from offwake.format.reader import TraceReader
from offwake.format.writer import TraceWriter

__all__ = ["Extra", "Recovery", "recover"]

LARGEST = (1 << 64) - 1
MISSING_AT_MOST = 1 << 32
"""Numbers that are left out at one place: of a header that asks for more nobody wrote the blocks before."""

Extra = Callable[[TraceReader, TraceWriter], None]


@dataclass(frozen=True)
class Recovery:
    """What became of a recording: the blocks copied, the blocks lost, and what was wrong with the source."""

    blocks_copied: int
    blocks_lost: int
    damage: list[Damage]


def recover(source: Path, destination: Path, extra: Extra | None = None) -> Recovery:
    """Copy what is sound in `source` to the new file `destination`, with an index, a footer and a trailer.

    `extra` may write further blocks, such as symbols, before the footer. The file gets its name when it is complete.
    Raises OutputError when that exists already or cannot be written, and what TraceReader.open raises.
    """
    partial = destination.with_name(destination.name + ".recovering")  # NAME.part is often the source
    with TraceReader.open(source) as reader, ExitStack() as stack:
        try:
            if os.path.lexists(destination):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(destination))
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            stack.callback(partial.unlink, missing_ok=True)
            stack.callback(os.close, fd)
            recovery = _copy(reader, TraceWriter(fd), extra)
            os.fsync(fd)
            os.rename(partial, destination)
        except OSError as error:
            raise OutputError(f"{error.filename or partial}: cannot be written: {error.strerror}") from error
    return recovery


def _copy(reader: TraceReader, writer: TraceWriter, extra: Extra | None) -> Recovery:
    first, last = reader.blocks[0], reader.blocks[-1]
    expected = first.sequence if first.kind == Kind.KEYFRAME else 0
    copied = lost = 0
    for header in reader.blocks:
        missing = min(header.sequence - expected, MISSING_AT_MOST)
        expected = header.sequence + 1
        if header.kind not in (Kind.INDEX, Kind.FOOTER):  # the new file gets its own
            frame = reader.frame(header)
            missing += frame is None
        else:
            frame = None
        lost += missing
        writer.skip(missing)
        if frame is not None:
            writer.copy(header, frame)
            copied += 1
    if last.kind != Kind.FOOTER and any(damage.offset >= last.end for damage in reader.damage):
        lost += 1  # the file ends in part of a block
        writer.skip(1)
    if extra is not None:
        extra(reader, writer)
    recovery = Recovery(copied, lost, reader.damage)
    writer.finish(_footer(reader, recovery))
    return recovery


def _footer(reader: TraceReader, recovery: Recovery) -> dict[str, Any]:
    """Return the source's own footer, or else what the headers of its blocks tell."""
    events = {header.stream: header for header in reader.blocks if header.kind == Kind.EVENTS}
    ticks = [header for header in reader.blocks if header.kind == Kind.TICK]  # each ends a second that is whole
    footer = reader.footer or {
        "ended_ns": max(header.end_ns for header in ticks or reader.blocks),
        "reason": "it was not ended",
        "events_attempted": min(sum(header.attempted for header in events.values()), LARGEST),
        "events_lost": min(sum(header.lost for header in events.values()), LARGEST),
    }
    return {**footer, "reason": f"recovered: {footer.get('reason')}", "blocks_lost": recovery.blocks_lost}
