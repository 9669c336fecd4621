"""How long it takes from a file to a picture: offwake's views against events, and beside `perf script`.

`perf bench sched pipe` on one CPU is recorded for ever more round trips, by offwake and, where that stays small, by `perf
record -g`. Then each view is made of each recording by a process of its own, in turns: interpreter, imports, decoding, names
and all.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.page import OFFWAKE, WITH_TRACEFS, machine, publish
from benchmarks.recording import PERF, stored_events

VIEWS = ("off-wake", "chain", "run-queue")
SCRIPT = "perf script"
LARGEST_FOR_PERF = 100_000  # round trips: perf script takes 30 s for four times as many events


@dataclass(frozen=True)
class Run:
    """One run of one command on one recording."""

    what: str
    events: int
    seconds: float
    peak_memory_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each view (default 3)")
    parser.add_argument(
        "--round-trips", type=int, nargs="+", default=[25_000, 100_000, 1_000_000], help="a recording each"
    )
    arguments = parser.parse_args()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder:
        commands = []
        for round_trips in track(arguments.round_trips, "recording"):
            commands += list(recorded(Path(folder), round_trips))
        for what, events, command in track(commands * arguments.rounds, "analyzing"):
            runs.append(run(what, events, command))
    results = {"machine": machine(), "runs": [asdict(one) for one in runs]}
    publish("analysis", results, "\n".join(markdown(results, runs)))


def recorded(folder: Path, round_trips: int) -> Iterator[tuple[str, int, list[str | Path]]]:
    """Record the workload; yield the commands to time: what each gives, of how many events."""
    file, perf_data = folder / f"{round_trips}.offwake", folder / f"{round_trips}.data"
    bench = f"taskset -c 0 perf bench sched pipe -l {round_trips}"
    in_shell(f"{OFFWAKE} record --sources sched --buffer-mb 256 -o {file} -- {bench}")
    events = stored_events(file)
    for view in VIEWS:
        yield view, events, [OFFWAKE, "folded", file, "--view", view, "--all"]
    if round_trips <= LARGEST_FOR_PERF:
        in_shell(f"{WITH_TRACEFS} {PERF} -o {perf_data} -- {bench}")
        yield SCRIPT, stored_events(perf_data), ["perf", "script", "-i", perf_data]


def in_shell(script: str) -> None:
    """Run a shell's script in a mount namespace of its own, to its end."""
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"failed with {done.returncode}: {script}\n{done.stderr}")


def run(what: str, events: int, command: list[str | Path]) -> Run:
    """Time one command, its output thrown away."""
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"failed with {process.returncode}: {command}")
    return Run(what, events, time.monotonic() - began, usage.ru_maxrss / 1024)


def markdown(results: dict[str, Any], runs: list[Run]) -> Iterator[str]:
    """The lines of the table on the page."""
    where = results["machine"]
    yield f"{where['cpus']} CPUs ({where['model']}), Linux {where['kernel']}."
    yield ""
    yield "| events | what | seconds | events/s | peak memory, MB |"
    yield "|---|---|---|---|---|"
    for what, events in dict.fromkeys((one.what, one.events) for one in runs):
        mine = [one for one in runs if (one.what, one.events) == (what, events)]
        seconds = statistics.median(one.seconds for one in mine)
        memory = statistics.median(one.peak_memory_mb for one in mine)
        yield f"| {events:,} | {what} | {seconds:.2f} | {events / seconds:,.0f} | {memory:.0f} |"


if __name__ == "__main__":
    main()
