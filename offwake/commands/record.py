"""`offwake record`: capture this machine into a file."""

import argparse
import contextlib
import math
import platform
import shutil
import sys
import time
from pathlib import Path

from offwake.errors import CannotRecord, UsageError
from offwake.recorder.host.machine_checks import check_machine
from offwake.recorder.members import Narrowing
from offwake.recorder.options import Options, Progress, Result
from offwake.recorder.output.budget import Budgets
from offwake.recorder.output.control import ask_for_dump
from offwake.recorder.output.flight import FlightLog
from offwake.recorder.programs.trigger import Trigger
from offwake.recorder.session import record
from offwake.recorder.sources import chosen_sources, default_sources
from offwake.recorder.start import Start

__all__ = ["add_arguments", "run"]

ANY = -1  # --dump without a process
FILE_SIZE, FLIGHT_SIZE = "2G", "256M"
LONGEST_FLIGHT_S = 3600
STACK_KB = (1, 2, 4, 8, 16, 32, 64, 128)  # a program may call itself 33 times, for 4 KiB each


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `record`."""
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="- streams; default: HOST-TIME.offwake")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="default: until Ctrl-C")
    parser.add_argument("--start-at", metavar="TIME", help="begin then: 14:30, 2030-01-31T14:30:00Z or @1900000000")
    parser.add_argument(
        "--align", type=float, metavar="SECONDS", help="begin when the wall clock next shows a multiple of so many seconds"
    )
    parser.add_argument("--sources", metavar="LIST", help=f"default: {','.join(default_sources())}")
    parser.add_argument("--buffer-mb", type=int, default=64, metavar="N", help="all rings together (default: 64)")
    narrowed = parser.add_argument_group("narrowed to", "and to whoever wakes them; children of processes are followed")
    narrowed.add_argument("-p", "--pid", type=int, action="append", default=[], metavar="PID", help="a process")
    narrowed.add_argument("-t", "--tid", type=int, action="append", default=[], metavar="TID", help="a thread")
    narrowed.add_argument("--cgroup", action="append", default=[], metavar="PATH", help="a cgroup, and those below it")
    narrowed.add_argument("--command-only", action="store_true", help="COMMAND and what it starts")
    parser.add_argument("--no-wakers", action="store_true", help="take no stacks of wakers; narrowed, record members alone")
    parser.add_argument(
        "--min-block-us",
        type=float,
        default=0,
        metavar="N",
        help="take a waker's stack only for waits at least this long (every wait is recorded)",
    )
    parser.add_argument(
        "--user-stacks",
        choices=("auto", "dwarf", "fp"),
        default="auto",
        help="dwarf: whole, also where there are no frame pointers; fp: as far as frame pointers go; auto: whole where this "
        "machine can (default)",
    )
    parser.add_argument(
        "--stack-kb",
        type=int,
        default=64,
        metavar="N",
        help=f"how much of a user stack to look through: 1, 2, 4 … {STACK_KB[-1]} KiB (default: 64)",
    )
    _add_budgets(parser)
    _add_flight(parser)
    parser.add_argument(
        "--redact", action="store_true", help="leave command lines, host names and IP addresses out of the file"
    )
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="-- COMMAND ARG…",
        help="record while it runs; a recording that ends first sends it SIGTERM and waits for it, unless a budget ended it",
    )


def _add_budgets(parser: argparse.ArgumentParser) -> None:
    budgets = parser.add_argument_group("budgets: what reaches one ends cleanly, with the reason in the file")
    budgets.add_argument(
        "--max-size",
        metavar="SIZE",
        help="of the file, with symbols (default: 2G); of what a flight recorder holds in memory (default: 256M)",
    )
    budgets.add_argument(
        "--max-cpu",
        type=float,
        default=50,
        metavar="PERCENT",
        help="of one CPU, used by the recorder itself, on average over ten seconds (default: 50)",
    )
    budgets.add_argument(
        "--reserve", default="5%", metavar="SIZE", help="space to leave free on the disk, as 5%% or 500M (default: 5%%)"
    )
    budgets.add_argument("--sync", action="store_true", help="have the disk keep every second at once, for power cuts")


def _add_flight(parser: argparse.ArgumentParser) -> None:
    flight = parser.add_argument_group("flight recorder: keep the last seconds in memory, and write them out when asked to")
    flight.add_argument(
        "--flight-recorder", type=float, metavar="SECONDS", help="keep only the last so many; SIGUSR2 has them written out"
    )
    flight.add_argument(
        "--trigger",
        metavar="WHEN",
        help="write out by itself, at most once a minute: 'blocked > 500ms', after that comm=NAME, pid=PID or both",
    )
    flight.add_argument(
        "--dump",
        nargs="?",
        type=int,
        const=ANY,
        metavar="PID",
        help="have the flight recorder that is running, or the one with this PID, write a dump, and print its name",
    )


def run(args: argparse.Namespace) -> int:
    """Record; returns the command's status when it is not 0, 3 when events were lost, else 0."""
    if args.dump is not None:
        print(ask_for_dump(None if args.dump == ANY else args.dump))
        return 0
    options = _options(args)
    check_machine()
    if options.command and not shutil.which(options.command[0]):
        raise CannotRecord(f"{options.command[0]}: command not found; nothing was recorded")
    on_terminal = sys.stderr.isatty()
    result = record(options, _show_progress if on_terminal else lambda progress: None, _say)
    with contextlib.suppress(OSError):  # the terminal may be gone; the recording is what counts
        if on_terminal:
            print("\r\x1b[K", end="", file=sys.stderr)
        _report(result)
    return result.command_status or (3 if any(result.lost.values()) else 0)


def _options(args: argparse.Namespace) -> Options:
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if args.duration is not None and not 0 < args.duration < math.inf:
        raise UsageError(f"--duration {args.duration:g}: a recording takes more than 0 seconds, and ends")
    if str(args.output) == "-" and args.sync:
        raise UsageError("--sync: a stream has no disk of its own; give one of --sync and -o -")
    if args.buffer_mb < 1:
        raise UsageError(f"--buffer-mb {args.buffer_mb}: the rings need at least 1 MB")
    if args.stack_kb not in STACK_KB:
        raise UsageError(f"--stack-kb {args.stack_kb}: it is one of {', '.join(map(str, STACK_KB))}")
    if not 0 <= args.min_block_us < math.inf:
        raise UsageError(f"--min-block-us {args.min_block_us:g}: a wait lasts 0 µs or more")
    if args.command_only and not command:
        raise UsageError("--command-only: there is no COMMAND; add one after --")
    for flag, numbers in (("--pid", args.pid), ("--tid", args.tid)):
        if any(number <= 0 for number in numbers):
            raise UsageError(f"{flag} {min(numbers)}: ids are numbers from 1 on")
    flight_s = _flight_s(args)
    names = [name.strip() for name in args.sources.split(",")] if args.sources else default_sources()
    host = "redacted" if args.redact else platform.node()
    name = host if flight_s else f"{host}-{time.strftime('%Y%m%d-%H%M%S')}"  # a dump has the time in its own name
    output = args.output or Path(f"{name}.offwake")
    if args.redact and (traced := [name for name in names if name.startswith("trace:")]):
        raise UsageError(f"--redact: {traced[0]} records arguments as they are; leave out one of the two")
    sources, buffer_bytes, stack_bytes = chosen_sources(names), args.buffer_mb << 20, args.stack_kb << 10
    return Options(
        output=output,
        sources=sources,
        duration_s=args.duration,
        buffer_bytes=buffer_bytes,
        command=command,
        user_stacks=args.user_stacks,
        stack_bytes=stack_bytes,
        narrowing=Narrowing(tuple(args.pid), tuple(args.tid), tuple(args.cgroup), args.command_only, not args.no_wakers),
        min_block_ns=round(args.min_block_us * 1000),
        trigger=_trigger(args, names),
        budgets=Budgets.parse(args.max_size or (FILE_SIZE if flight_s is None else FLIGHT_SIZE), args.max_cpu, args.reserve),
        sync=args.sync,
        flight_s=flight_s,
        start=Start.parse(args.start_at, args.align),
        redact=args.redact,
    )


def _flight_s(args: argparse.Namespace) -> float | None:
    seconds: float | None = args.flight_recorder
    if seconds is None:
        return None
    if not 1 <= seconds <= LONGEST_FLIGHT_S:
        raise UsageError(f"--flight-recorder {seconds:g}: it keeps between 1 and {LONGEST_FLIGHT_S} seconds")
    if str(args.output) == "-" or args.sync:
        raise UsageError("--flight-recorder: it writes nothing until it is asked to; leave out -o - and --sync")
    return seconds


def _trigger(args: argparse.Namespace, names: list[str]) -> Trigger | None:
    if args.trigger is None:
        return None
    if args.flight_recorder is None:
        raise UsageError("--trigger: only a flight recorder dumps by itself; add --flight-recorder SECONDS")
    if "sched" not in names:
        raise UsageError("--trigger: what blocks is known from the source sched; add it to --sources")
    return Trigger.parse(args.trigger)


def _say(line: str) -> None:
    """Tell news, above the line of the progress."""
    with contextlib.suppress(OSError):
        print(f"\r\x1b[K{line}" if sys.stderr.isatty() else line, file=sys.stderr, flush=True)


def _show_progress(progress: Progress) -> None:
    if progress.elapsed_s < 0:
        with contextlib.suppress(OSError):
            print(f"\r\x1b[Kbegins in {-progress.elapsed_s:.0f} s", end="", file=sys.stderr, flush=True)
        return
    rate = progress.events / max(progress.elapsed_s, 1e-9)
    lost = f"  {progress.lost} LOST" if progress.lost else ""
    line = (
        f"\r\x1b[K{progress.elapsed_s:.0f} s  {rate:,.0f} events/s  {progress.bytes_written / 1e6:.1f} MB{lost}  "
        f"own CPU {100 * progress.own_cpu_s / max(progress.elapsed_s, 1e-9):.1f} %"
    )
    with contextlib.suppress(OSError):
        print(line, end="", file=sys.stderr, flush=True)


def _report(result: Result) -> None:
    for name, why in result.unavailable.items():
        print(f"not recorded: {name}: {why}", file=sys.stderr)
    events = ", ".join(f"{name} {count:,}" for name, count in result.events.items()) or "samples only"
    lost = ", ".join(f"{cause} {count:,}" for cause, count in result.lost.items() if count) or "none"
    if result.flight:
        _report_flight(result, result.flight)
        return
    own = result.own
    wrote = f"{own.bytes_written / 1e6:.2f} MB written to {own.device.name}"
    print(
        f"{result.path}: {result.duration_s:.1f} s; events: {events}; lost: {lost}; "
        f"own CPU while recording {own.cpu_s:.2f} s; {wrote}; ended by: {result.reason}",
        file=sys.stderr,
    )


def _report_flight(result: Result, log: FlightLog) -> None:
    lost = ", ".join(f"{cause} {count:,}" for cause, count in result.lost.items() if count) or "none"
    dumps = f"{len(log.dumps)} dump{'' if len(log.dumps) == 1 else 's'}"
    failed = f", {log.failed} failed" if log.failed else ""
    pulled = f"; the trigger was met {log.trigger_hits:,} times" if log.trigger_hits else ""
    print(
        f"flight recorder: {result.duration_s:.1f} s; lost: {lost}; own CPU {result.own.cpu_s:.2f} s; "
        f"ended by: {result.reason}; {dumps} written{failed}{pulled}; what was held is gone",
        file=sys.stderr,
    )
