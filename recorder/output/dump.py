"""A dump of a flight recorder: what it holds, written out with symbols by a child, while it goes on recording.

A child has all that is held for nothing, as of the moment of the fork, and takes its time at low priority. It first
lets go of every descriptor of BPF and perf that it inherited: else what is attached would outlive a recorder that is killed.
"""

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from offwake.errors import OffwakeError, OutputError
from offwake.format import codec, values
from offwake.format.layout import Kind, max_payload
from offwake.format.writer import Edit
from offwake.recorder.output.budget import Budgets, Disk
from offwake.recorder.output.file import OutputFile
from offwake.recorder.output.finish import NICE, Ending, finish
from offwake.recorder.output.held import HeldBlock

__all__ = ["Dump", "DumpJob", "dump_path"]

NAMES_TRIED = 100


@dataclass(frozen=True)
class DumpJob:
    """What to write where: the blocks that are held, and what a recording that ended now would say.

    `edit` is that of the writer that holds the blocks, see TraceWriter.
    """

    path: Path
    blocks: list[HeldBlock]
    ending: Ending
    budgets: Budgets
    edit: Edit | None


def dump_path(output: Path) -> Path:
    """Name a dump after `output` and the time, as nothing else there is called."""
    stem, suffix = output.stem, output.suffix or ".offwake"
    name = f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(NAMES_TRIED):
        path = output.with_name(f"{name}{f'-{number + 1}' if number else ''}{suffix}")
        if not os.path.lexists(path) and not os.path.lexists(f"{path}.part"):
            return path
    raise OutputError(f"{output.with_name(name)}{suffix}: {NAMES_TRIED} dumps of this second exist already")


class Dump:
    """A child that writes a dump. `answer` is None until it has ended: its path, or an error."""

    def __init__(self, job: DumpJob) -> None:
        self.path = job.path
        self.answer: dict[str, Any] | None = None
        self._said, say = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if not self.pid:
            _be_the_child(job, say)
        os.close(say)

    def has_ended(self) -> bool:
        """Tell whether it has; the answer is there then."""
        if self.answer is None and os.waitpid(self.pid, os.WNOHANG)[0]:
            self._take_answer()
        return self.answer is not None

    def wait(self) -> None:
        """Wait until it has ended."""
        if self.answer is None:
            os.waitpid(self.pid, 0)
            self._take_answer()

    def _take_answer(self) -> None:
        said = b"".join(iter(lambda: os.read(self._said, 4096), b""))
        os.close(self._said)
        self.answer = json.loads(said) if said else {"error": f"{self.path}: the process that wrote the dump was killed"}


def _be_the_child(job: DumpJob, say: int) -> None:
    """Write the dump and end: nothing here may return."""
    answer: dict[str, Any] = {"error": f"{job.path}: the dump failed"}
    try:
        signal.set_wakeup_fd(-1)
        _let_go_of_the_kernel({0, 1, 2, say, job.ending.helper.fileno()})
        job.ending.helper.forget_answers()
        os.nice(NICE)
        answer = {"path": str(_write(job).absolute())}
    except (OffwakeError, OSError, ValueError, MemoryError) as error:
        answer = {"error": str(error)}
    finally:
        os.write(say, json.dumps(answer).encode())
        os._exit(0)


def _let_go_of_the_kernel(kept: set[int]) -> None:
    """Close what keeps programs attached, the rings open and callers waiting."""
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            kind = os.readlink(f"/proc/self/fd/{entry}")
            if int(entry) not in kept and kind.startswith(("anon_inode:", "socket:", "pipe:")):
                os.close(int(entry))


def _write(job: DumpJob) -> Path:
    output = OutputFile(job.path)
    try:
        Disk(output.fd, job.budgets).require_room(job.path)
        writer = output.writer()
        writer.edit = job.edit
        for header, frame in job.blocks:
            writer.copy(header, frame)
        finish(output, writer, _of_what_is_held(job))
    except BaseException:
        output.discard()  # the recorder still has what could not be written
        raise
    return output.path


def _of_what_is_held(job: DumpJob) -> Ending:
    """Return the ending without what was lost, and what recording took, before the first segment that is held began."""
    first = next((block for block in job.blocks if block.header.kind == Kind.KEYFRAME), None)
    if first is None:
        return job.ending
    limit = max_payload(first.header.kind)
    before = values.unpack(codec.decompress(first.frame, first.header.raw_length, limit))
    lost = {cause: n - before["lost_by_cause"].get(cause, 0) for cause, n in job.ending.footer["lost_by_cause"].items()}
    own_cpu_s = job.ending.own_cpu_s - before["own_cpu_ns"] / 1e9
    return replace(job.ending, footer={**job.ending.footer, "lost_by_cause": lost}, own_cpu_s=own_cpu_s)
