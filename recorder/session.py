"""A capture from attach to detach: owns every resource, and leaves nothing behind.

The order is what makes a recording complete: rings first, then programs, then the walk through /proc, so that whatever
changes during the walk is in the events; at the end samples and side-band go first, then the programs, and the rings are
emptied for good.
"""

import os
import resource
import select
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from offwake import __version__
from offwake.errors import CannotRecord
from offwake.format.writer import TraceWriter
from offwake.recorder.command import PausedCommand
from offwake.recorder.counts import Counts
from offwake.recorder.host.helper import Helper
from offwake.recorder.host.listeners import listeners
from offwake.recorder.host.machine_checks import check_machine
from offwake.recorder.host.snapshot import clocks, machine, offline_cpus
from offwake.recorder.kernel.perf_event import EventSpec
from offwake.recorder.kernel.privileges import (
    Capability,
    act_on_files_as_owner_of,
    forbid_new_privileges,
    keep_only,
    lowered_to,
)
from offwake.recorder.members import Members
from offwake.recorder.options import Options, Progress, Result
from offwake.recorder.output.budget import Budgets, BudgetWatch, Disk
from offwake.recorder.output.file import Output, OutputFile
from offwake.recorder.output.finish import Ending, finish
from offwake.recorder.output.flight import FlightRecorder, segment_size
from offwake.recorder.output.held import HeldSegments
from offwake.recorder.output.own_cost import Device, OwnCost, peak_memory_bytes
from offwake.recorder.output.redaction import redacted
from offwake.recorder.output.stream import OutputStream
from offwake.recorder.programs.loading import load
from offwake.recorder.programs.program import Program
from offwake.recorder.pump import Pump
from offwake.recorder.rings import Rings, event_specs
from offwake.recorder.signals import Stopper
from offwake.recorder.start import wait_for
from offwake.recorder.writer_thread import WriterThread

__all__ = ["record"]

POLL_MS, LEARNING_MS = 250, 20
SHORTEST_SLEEP_S = 0.01  # a storm of side-band records must not turn into a storm of wake-ups
DUMPS_REMEMBERED = 8
PREPARING_S = 1.0  # what opening rings and looking at all processes may take, before a moment that is to be met
SEES_SYMBOLS = (Capability.SYS_PTRACE, Capability.DAC_READ_SEARCH, Capability.CHECKPOINT_RESTORE)
"""What is needed to look at others' processes and files, and (CHECKPOINT_RESTORE) into /proc/PID/map_files."""


def record(
    options: Options, watch: Callable[[Progress], None], say: Callable[[str], None] = lambda line: None
) -> Result:
    """Record until the duration, the command's end or a signal; `watch` is called about once a second, `say` for news.

    Raises CannotRecord, OutputError or UsageError before anything is attached. A disk that fills up, or fails, ends the
    recording cleanly: what was written stays.
    """
    check_machine()
    stopper = Stopper(dumps=options.flight_s is not None)
    with ExitStack() as stack:
        # Who writes a dump has a helper of its own, as one answers one process; it may live longer, and so is the first.
        of_dumps = [Helper([], stack)] if options.flight_s is not None else []
        helpers = [Helper([*event_specs(options.sources), EventSpec.lessons()], stack), *of_dumps]
        output = _output(options)
        try:
            if output:
                stack.callback(output.close)
                Disk(output.fd, options.budgets).require_room(output.path)
            program = load(options.sources, options.build())
            stack.callback(program.close)
            if options.user_stacks == "dwarf" and not program.user_stack_bytes:
                raise CannotRecord("; ".join(program.unavailable.values()) + ": try --user-stacks fp")
            if options.trigger and "sched" in program.unavailable:
                raise CannotRecord(f"--trigger needs the source sched: {program.unavailable['sched']}")
            stopper.check()
            moment = options.start.moment(time.time() + PREPARING_S) if options.start else 0.0
            if options.start and time.time() > moment:
                say("--start-at had passed when everything was prepared: the recording begins now")
            wait_for(moment - PREPARING_S, stopper, lambda left: watch(Progress(-left - PREPARING_S)))
            capture = _Capture(options, _Resources(output, program, stopper, helpers, stack), moment)
        except BaseException:
            if output:
                output.discard()
            raise
        return capture.run(watch, say)


def _output(options: Options) -> Output | None:
    if options.flight_s is not None:
        return None
    return OutputStream() if options.output == OutputStream.path else OutputFile(options.output)


@dataclass(frozen=True)
class _Resources:
    """What a capture stands on; `stack` frees it, and takes what the capture adds. A flight recorder has no output."""

    output: Output | None
    program: Program
    stopper: Stopper
    helpers: list[Helper]
    stack: ExitStack


class _Capture:
    """The running capture: what `record` does once everything can be had."""

    def __init__(self, options: Options, resources: _Resources, moment: float) -> None:
        self._options, self._stopper, self._helpers = options, resources.stopper, resources.helpers
        output, program, stack = resources.output, resources.program, resources.stack
        self._output, self._program = output, program
        self._command = PausedCommand(options.command, stack) if options.command else None
        _raise_file_limit()  # after the command was forked: it keeps what it had
        forbid_new_privileges()
        self._rings = Rings(program, options.sources, options.buffer_bytes, stack)
        self._counts = Counts(program, self._rings)
        writer = self._writer()
        writer.edit = redacted if options.redact else None
        self._thread = stack.enter_context(WriterThread(writer))
        self._disk = Disk(output.fd if output else None, options.budgets, options.sync)
        self._watch = BudgetWatch(options.budgets, self._disk)
        self._flight: FlightRecorder | None = None
        self._dump_pids: list[int] = []
        self._cut_short = False  # by us: the command is none of our business then
        self._pump = Pump(self._rings, program, self._thread, self._keyframe)
        if options.flight_s is not None:
            self._pump.segment_size = segment_size(options.flight_s, options.budgets.max_bytes)
        stack.callback(self._pump.keeper.close)
        self._members = Members(options.narrowing, program)
        self._machine = machine()
        self._listeners = set(listeners())
        self._pump.prepare()
        wait_for(moment, self._stopper, lambda left: None)
        program.attach()
        self._members.begin(self._command.pid if self._command else None)
        self._began_ns = time.monotonic_ns()
        self._cpu_before_s = time.process_time()

    def _writer(self) -> TraceWriter:
        if self._output:
            return self._output.writer()
        return HeldSegments(int((self._options.flight_s or 0) * 1e9), self._options.budgets.max_bytes)

    def run(self, watch: Callable[[Progress], None], say: Callable[[str], None]) -> Result:
        self._pump.table.scan()
        self._pump.begin(self._began_ns)
        self._give_up_privileges()
        if self._command and not self._stopper.signal_name:
            self._command.release()
        if not self._output:
            self._flight = FlightRecorder(self, self._thread, self._options.output, say)
        reason = self._until_stopped(watch)
        ended_ns, signals = time.monotonic_ns(), self._stopper.count
        command_status = (self._command.status or 0) if self._command else 0
        self._rings.disable()
        self._program.detach()
        self._pump.end()
        ending = self.ending(reason)
        ending.footer["ended_ns"] = ended_ns
        self._rings.unmap()
        try:
            own = self._finish(ending)
        finally:
            if self._command and self._cut_short:
                self._command.let_run(lambda: self._stopper.count > signals)
                command_status = self._command.status or 0
            elif self._command:
                self._command.end(lambda: self._stopper.count > signals, say)
        return Result(
            path=self._options.output,
            reason=reason,
            duration_s=(ended_ns - self._began_ns) / 1e9,
            events=self._counts.stored(),
            lost=ending.footer["lost_by_cause"],
            unavailable=self._program.unavailable,
            own=own,
            flight=self._flight.end() if self._flight else None,
            command_status=command_status,
        )

    def _give_up_privileges(self) -> None:
        """Keep what is needed from now on, and leave the rest to the helper. The writer's thread has none already."""
        kept = {*SEES_SYMBOLS}
        if self._command:
            kept.add(Capability.KILL)  # it may have become somebody else
        if offline_cpus():
            kept.add(Capability.IPC_LOCK)  # for the ring of one that comes online
        with lowered_to(kept):
            if not self._program.can_be_read():  # before Linux 5.19, where unprivileged_bpf_disabled is set
                kept.add(Capability.BPF)
        if not self._output:
            kept.add(Capability.CHOWN)  # dumps belong to whoever called sudo
        self._rings.open_event = self._helpers[0].open_event
        self._pump.table.stack_of = self._helpers[0].kernel_stack
        if folder := self._output.folder if self._output else self._options.output.parent:
            act_on_files_as_owner_of(folder)
        keep_only(kept)

    def _until_stopped(self, watch: Callable[[Progress], None]) -> str:
        """Empty the rings until something ends the capture; returns what did."""
        poller = self._rings.poller
        poller.register(self._stopper.fd, select.POLLIN)
        next_report, is_learning = 1.0, False
        while True:
            elapsed = (time.monotonic_ns() - self._began_ns) / 1e9
            left = (self._options.duration_s - elapsed) if self._options.duration_s is not None else POLL_MS
            if left <= 0:
                return "duration"
            if self._stopper.signal_name:
                return self._stopper.signal_name
            if self._command and self._command.has_ended():
                return "the command ended"
            if self._thread.error:
                self._cut_short = True
                return f"writing failed: {_reason(self._thread.error)}"
            written = self._thread.writer.bytes_written if self._output else 0
            if over := self._watch.exceeded(time.monotonic_ns(), self._own_cpu_s(), written):
                self._cut_short = True
                return over
            if elapsed >= next_report:
                next_report = elapsed + 1
                written = self._thread.writer.bytes_written
                watch(Progress(elapsed, *self._counts.totals(), written, self._own_cpu_s()))
                self._disk.visit(self._thread)
            ready = poller.poll(min(LEARNING_MS if is_learning else POLL_MS, left * 1000))
            is_learning = self._pump.empty()
            self._members.follow(self._pump.table.take_born())
            self._stopper.heard()
            if self._flight:
                self._flight.step()
            if ready:
                time.sleep(min(SHORTEST_SLEEP_S, left))

    def _keyframe(self) -> dict[str, Any]:
        """Return what opens a segment, but for what the process table has."""
        return {
            **self._machine,
            **self._rings.as_values(),
            **self._program.as_values(),
            "version": __version__,
            "command": self._options.command,
            "clocks": clocks(),
            "began_ns": self._began_ns,
            "recorder_pid": os.getpid(),
            "helper_pids": [*(helper.pid for helper in self._helpers), *self._dump_pids],
            "lost_by_cause": self._counts.lost(),
            "own_cpu_ns": int(self._own_cpu_s() * 1e9),
            "narrowing": self._members.as_value(),
            "min_block_ns": self._options.min_block_ns,
        }

    def _finish(self, ending: Ending) -> OwnCost:
        self._thread.finish()
        if not self._output:
            return OwnCost(ending.own_cpu_s, 0, Device("", "no device"), peak_memory_bytes())
        if self._thread.error:
            raise self._output.failure(self._thread.error) from self._thread.error
        return finish(self._output, self._thread.writer, ending)

    def ending(self, reason: str) -> Ending:
        """Return what a recording that ends now has to say."""
        footer = {"ended_ns": time.monotonic_ns(), "reason": reason, "lost_by_cause": self._counts.lost()}
        return Ending(
            footer=footer,
            own_cpu_s=self._own_cpu_s(),
            listeners=self._listeners,
            keeper=self._pump.keeper,
            helper=self._helpers[-1],
            max_bytes=self._options.budgets.max_bytes if self._output else None,
            needed=(Capability.KILL,) if self._command and not self._command.has_ended() else (),
        )

    def close_round(self) -> None:
        """Have everything written that has happened until now."""
        self._pump.empty()
        self._pump.close_round(time.monotonic_ns())

    @property
    def budgets(self) -> Budgets:
        """What the recording may take."""
        return self._options.budgets

    def trigger_hits(self) -> int:
        """Count the waits so far that the trigger is about."""
        return self._program.trigger_hits()

    def dump_signals(self) -> int:
        """Count the signals so far that asked for a dump."""
        return self._stopper.dumps_asked

    def set_helper(self, pid: int) -> None:
        """Have another process, or with 0 none, left out of the recording as this one is."""
        self._program.set_helper(pid)
        self._dump_pids = [*self._dump_pids[-DUMPS_REMEMBERED:], *([pid] if pid else [])]

    def _own_cpu_s(self) -> float:
        return time.process_time() - self._cpu_before_s


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
