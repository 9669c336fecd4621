"""`offwake summary`: the first answer, in the terminal."""

import argparse
from collections.abc import Iterator

from offwake.analyzer.render.text import count, duration, percent, printable
from offwake.analyzer.summary import Summary, summarize
from offwake.commands.arguments import add_recording, opened, status

__all__ = ["add_arguments", "run"]

PART_NAMES = {
    "on_cpu_ns": "on-CPU",
    "blocked_ns": "blocked",
    "run_queue_ns": "run queue",
    "preempted_ns": "preempted",
    "unknown_ns": "unknown",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `summary`."""
    add_recording(parser)


def run(args: argparse.Namespace) -> int:
    """Print the summary."""
    with opened(args.file) as recording:
        print("\n".join(printable(line) for line in _lines(summarize(recording), str(args.file))))
    return status(recording)


def _lines(summary: Summary, file: str) -> Iterator[str]:
    info = summary.info
    verdict = "complete" if info["complete"] else "NOT complete"
    yield f"{info['host']}  {info['started']}  {duration(info['duration_ns'])}  {count(info['events'])} events, {verdict}"
    yield ""
    total = sum(summary.time_ns.values())
    yield f"Where {info['threads']} threads spent their time"
    for part, name in PART_NAMES.items():
        yield f"  {duration(summary.time_ns[part]):>10}  {percent(summary.time_ns[part], total):>8}  {name}"
    yield f"  ({duration(summary.hidden_ns)} of blocked: threads that slept throughout, left out below)"
    yield ""
    yield "What was waited for longest"
    yield f"  {'time':>10}  {'waits':>7}  {'average':>10}  who, in what, woken by"
    for wait in summary.waits:
        average = duration(wait.value_ns // max(wait.count, 1))
        yield (
            f"  {duration(wait.value_ns):>10}  {wait.count:>7}  {average:>10}  "
            f"{wait.target}: {wait.waited_in}, woken by {wait.waker}"
        )
    yield ""
    yield "Waiting for a CPU (run queue and preempted)"
    for row in summary.queued:
        yield f"  {duration(row['run_queue_ns'] + row['preempted_ns']):>10}  {row['comm']} ({row['tid']})"
    if summary.block_io:
        yield ""
        yield "Block I/O service time"
        for io in summary.block_io:
            yield (
                f"  {io.device} {io.operation}: {count(io.count)} requests, {io.bytes / 1e6:.1f} MB, "
                f"p50 {duration(io.p50_ns)}, p99 {duration(io.p99_ns)}"
            )
    yield ""
    yield f"TCP: {summary.tcp['sessions']} sessions, {summary.tcp['retransmits']} retransmits"
    yield ""
    yield f"Next: offwake flamegraph {file} -o off-wake.svg   or   offwake serve {file}"
