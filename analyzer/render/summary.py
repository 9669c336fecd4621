"""The summary in words: where the time went, what was waited for and why, who lacked a CPU."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from glob import escape

from offwake.analyzer.options import chosen
from offwake.analyzer.render.sections import Line, Opens, Section
from offwake.analyzer.render.text import count, counted, duration, percent, size
from offwake.analyzer.select import Selection
from offwake.analyzer.summary import Summary
from offwake.analyzer.words import Wait

__all__ = ["summary_sections", "waits_there"]

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


def summary_sections(summary: Summary, file: str) -> Iterator[Section]:
    """Yield the summary of a file (its name as a shell takes it)."""
    info = summary.info
    total = sum(summary.time_ns.values())
    times = [
        Line(f"{percent(summary.time_ns[part], total):>8}  {name}", duration(summary.time_ns[part]))
        for part, name in PART_NAMES.items()
    ]
    why = " ".join(["offwake idle", file, *chosen(summary.selection)])
    times.append(Line(f"({duration(summary.hidden_ns)} of blocked is idle, and left out below: `{why}` tells why)"))
    yield Section(f"Where {counted(summary.threads, 'thread')} spent their time", times)
    waits = [line for wait in summary.waits for line in _wait(wait, summary)]
    title = "What was waited for longest" + (", and why" if info["narrowed"]["wakers"] else "")
    title += f": only stacks with {summary.selection.grep!r}" if summary.selection.grep is not None else ""
    yield Section(title, waits or [Line("nothing: all waits were idle" if summary.hidden_ns else "nothing")])
    yield _queued(summary)
    if summary.circles:
        circles = [Line(", ".join(circle.names), duration(circle.blocked_ns)) for circle in summary.circles]
        yield Section("Threads that waited for each other in a circle", circles)
    if summary.block_io:
        yield Section("Block I/O service time", list(_block_io(summary)))
    own = info["own_cost"]
    if own["own_bytes"] is not None and own["own_device"]:
        yield Section(f"The recorder itself wrote {size(own['own_bytes'])} to {own['own_device'].get('name', '?')}.")
    yield _tcp(summary)
    options = shlex.join(summary.next_options)
    yield Section(f"Next: offwake flamegraph {file} {options} -o next.svg   or   offwake serve {file}")


def waits_there(selection: Selection, comm: str, inner: str) -> Selection:
    """Return the selection of the waits of threads of a name (a glob) in a function, as `words.place` names it."""
    frame = None if inner.startswith("[") else rf"^{re.escape(inner.split(' in ')[0])}(_\[k\])?$"
    return replace(selection, comm=comm, grep=frame)


def _wait(wait: Wait, summary: Summary) -> Iterator[Line]:
    average = f", {duration(wait.value_ns // wait.count)} on average" if wait.count > 1 else ""
    waits = f"{counted(wait.count, 'wait')}{average}"
    there = waits_there(summary.selection, escape(wait.target), wait.waited_in)
    opens = Opens("chain" if summary.info["narrowed"]["wakers"] else "off-cpu", there)
    yield Line(f"{wait.target}: {wait.waited_in} ({waits})", duration(wait.value_ns), 0, opens)
    shown = [reason for reason in wait.reasons if reason.value_ns >= REASON_AT_LEAST * wait.value_ns]
    for reason in shown[:REASONS_SHOWN]:
        usually = f", mostly {reason.usually}" if reason.usually else ""
        yield Line(f"for {reason.words}{usually}", percent(reason.value_ns, wait.value_ns, 0), 1)
    told_ns = sum(reason.value_ns for reason in shown[:REASONS_SHOWN])
    if told_ns < REASONS_TELL * wait.value_ns and len(wait.ends) < len(wait.reasons):
        ends = (
            f"{end} {percent(value_ns, wait.value_ns, 0)}"
            for end, value_ns in wait.ends[:ENDS_SHOWN]
            if value_ns >= REASON_AT_LEAST * wait.value_ns
        )
        yield Line(f"at the ends of all chains: {', '.join(ends)}", depth=2)


def _queued(summary: Summary) -> Section:
    could_run = summary.queued_ns + summary.time_ns["on_cpu_ns"]
    verdict = "threads lacked CPUs" if summary.lacks_cpu else "no trouble"
    share = percent(summary.queued_ns, could_run, 1)
    lines = []
    for row in summary.queued:
        first, *others = row.instead[:INSTEAD_SHOWN]
        shown = [first, *(other for other in others if other[1] >= REASON_AT_LEAST * row.value_ns)]
        instead = ", ".join(f"{who} {percent(value_ns, row.value_ns, 0)}" for who, value_ns in shown)
        opens = Opens("run-queue", replace(summary.selection, comm=escape(row.target), grep=None))
        lines.append(Line(f"{row.target}, while the CPU ran {instead}", duration(row.value_ns), 0, opens))
    lines.append(Line(f"({duration(summary.wakeup_ns)} more went into waking idle CPUs)"))
    queued = duration(summary.queued_ns)
    return Section(f"Waiting for a CPU that ran others: {queued}, {share} of when threads could run: {verdict}", lines)


def _block_io(summary: Summary) -> Iterator[Line]:
    for io in summary.block_io:
        moved = f"{size(io.bytes)}, " if io.bytes else ""  # a flush moves nothing
        there = replace(summary.selection, grep=rf"^\[{re.escape(f'{io.device} {io.operation}')}\b")
        yield Line(
            f"{io.device} {io.operation}: {counted(io.count, 'request')}, {moved}"
            f"p50 {duration(io.p50_ns)}, p99 {duration(io.p99_ns)}",
            opens=Opens("off-wake", there) if summary.info["narrowed"]["wakers"] else None,
        )


def _tcp(summary: Summary) -> Section:
    tcp, lines = summary.tcp, []
    for row in tcp.retransmitted:
        ends = f"{row['local']}:{row['local_port']} to {row['remote']}:{row['remote_port']}"
        lines.append(Line(f"{count(row['retransmits'])} from {ends} ({row['comm'] or 'nobody known'})"))
    if tcp.not_connected:
        lines.append(Line(f"{count(tcp.not_connected)} still without an answer to their SYN at the end"))
    return Section(f"TCP: {counted(tcp.sessions, 'session')}, {counted(tcp.retransmits, 'retransmit')}", lines)
