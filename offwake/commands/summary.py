"""`offwake summary`: the first answer, in the terminal."""

import argparse
import shlex
import sys
from collections.abc import Iterator

from offwake.analyzer.completeness import completeness, wholeness
from offwake.analyzer.nothing import nothing_fits
from offwake.analyzer.options import chosen
from offwake.analyzer.recording import Recording
from offwake.analyzer.render.text import count, counted, duration, percent, printable, size
from offwake.analyzer.summary import Summary, summarize
from offwake.analyzer.words import Wait
from offwake.commands.arguments import add_recording, add_selection, selection, status

__all__ = ["add_arguments", "run"]

PART_NAMES = {
    "on_cpu_ns": "on-CPU",
    "blocked_ns": "blocked",
    "run_queue_ns": "run queue",
    "preempted_ns": "preempted",
    "unknown_ns": "unknown",
}
REASONS_SHOWN = 3
INSTEAD_SHOWN = 3
REASONS_TELL = 0.8
ENDS_SHOWN = 4
REASON_AT_LEAST = 0.03
"""Share of what it explains from which on a reason, or who ran instead, is worth a word."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `summary`."""
    add_recording(parser)
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Print the summary."""
    selected = selection(args)
    with Recording.open(args.file) as recording:
        summary = summarize(recording, selected)
        print("\n".join(printable(line) for line in _lines(summary, shlex.quote(str(args.file)))))
        if not summary.threads:
            print(printable(f"offwake: {args.file}: {nothing_fits(recording, selected)}"), file=sys.stderr)
        return status(recording)


def _lines(summary: Summary, file: str) -> Iterator[str]:
    info = summary.info
    yield f"{info['host']}  {info['started']}  {duration(info['duration_ns'])}  {count(info['events'])} events"
    yield f"The recording is {completeness(info)}."
    yield from (f"{words[0].upper()}{words[1:]}." for words in wholeness(info))
    if info["of"] != "everything":
        yield f"It was narrowed to {info['of']}."
    yield from (f"Selected: {options}" for options in chosen(summary.selection))
    yield from (f"- {sentence}" for sentence in info["verdict"])
    yield ""
    total = sum(summary.time_ns.values())
    yield f"Where {counted(summary.threads, 'thread')} spent their time"
    for part, name in PART_NAMES.items():
        yield f"  {duration(summary.time_ns[part]):>10}  {percent(summary.time_ns[part], total):>8}  {name}"
    why = " ".join(["offwake idle", file, *chosen(summary.selection)])
    yield f"  ({duration(summary.hidden_ns)} of blocked is idle, and left out below: `{why}` tells why)"
    yield ""
    yield "What was waited for longest" + (", and why" if info["narrowed"]["wakers"] else "")
    for wait in summary.waits:
        yield from _wait(wait)
    if not summary.waits:
        yield "  nothing: all waits were idle"
    yield ""
    yield from _queued(summary)
    if summary.circles:
        yield ""
        yield "Threads that waited for each other in a circle"
        for circle in summary.circles:
            yield f"  {duration(circle.blocked_ns):>10}  {', '.join(circle.names)}"
    if summary.block_io:
        yield ""
        yield "Block I/O service time"
        for io in summary.block_io:
            moved = f"{size(io.bytes)}, " if io.bytes else ""  # a flush moves nothing
            yield (
                f"  {io.device} {io.operation}: {counted(io.count, 'request')}, {moved}"
                f"p50 {duration(io.p50_ns)}, p99 {duration(io.p99_ns)}"
            )
    own = info["own_cost"]
    if own["own_bytes"] is not None and own["own_device"]:
        yield ""
        yield f"The recorder itself wrote {size(own['own_bytes'])} to {own['own_device'].get('name', '?')}."
    yield ""
    yield from _tcp(summary)
    yield ""
    options = shlex.join(summary.next_options)
    yield f"Next: offwake flamegraph {file} {options} -o next.svg   or   offwake serve {file}"


def _wait(wait: Wait) -> Iterator[str]:
    average = f", {duration(wait.value_ns // wait.count)} on average" if wait.count > 1 else ""
    waits = f"{counted(wait.count, 'wait')}{average}"
    yield f"  {duration(wait.value_ns):>10}  {wait.target}: {wait.waited_in} ({waits})"
    shown = [reason for reason in wait.reasons if reason.value_ns >= REASON_AT_LEAST * wait.value_ns]
    for reason in shown[:REASONS_SHOWN]:
        usually = f", mostly {reason.usually}" if reason.usually else ""
        yield f"  {'':>10}    {percent(reason.value_ns, wait.value_ns, 0):>5} for {reason.words}{usually}"
    told_ns = sum(reason.value_ns for reason in shown[:REASONS_SHOWN])
    if told_ns < REASONS_TELL * wait.value_ns and len(wait.ends) < len(wait.reasons):
        ends = (
            f"{end} {percent(value_ns, wait.value_ns, 0)}"
            for end, value_ns in wait.ends[:ENDS_SHOWN]
            if value_ns >= REASON_AT_LEAST * wait.value_ns
        )
        yield f"  {'':>10}          at the ends of all chains: {', '.join(ends)}"


def _queued(summary: Summary) -> Iterator[str]:
    could_run = summary.queued_ns + summary.time_ns["on_cpu_ns"]
    verdict = "threads lacked CPUs" if summary.lacks_cpu else "no trouble"
    share = percent(summary.queued_ns, could_run, 1)
    yield f"Waiting for a CPU that ran others: {duration(summary.queued_ns)}, {share} of when threads could run: {verdict}"
    for row in summary.queued:
        first, *others = row.instead[:INSTEAD_SHOWN]
        shown = [first, *(other for other in others if other[1] >= REASON_AT_LEAST * row.value_ns)]
        instead = ", ".join(f"{who} {percent(value_ns, row.value_ns, 0)}" for who, value_ns in shown)
        yield f"  {duration(row.value_ns):>10}  {row.target}, while the CPU ran {instead}"
    yield f"  ({duration(summary.wakeup_ns)} more went into waking idle CPUs)"


def _tcp(summary: Summary) -> Iterator[str]:
    tcp = summary.tcp
    yield f"TCP: {counted(tcp.sessions, 'session')}, {counted(tcp.retransmits, 'retransmit')}"
    for row in tcp.retransmitted:
        ends = f"{row['local']}:{row['local_port']} to {row['remote']}:{row['remote_port']}"
        yield f"  {count(row['retransmits'])} from {ends} ({row['comm'] or 'nobody known'})"
    if tcp.not_connected:
        yield f"  {count(tcp.not_connected)} still without an answer to their SYN at the end"
