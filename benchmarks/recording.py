"""What recording costs, beside perf and offcputime, on a workload that does nothing but switch.

`perf bench sched pipe` on one CPU runs alone and beside each recorder, in turns, so that whatever else the machine does
hits all of them. What is timed comes after round trips in which a recorder may learn. Added cost is the median time of a
round trip less that of the runs alone; recorders are compared by the ratio of their added costs. Figures go to
benchmarks/results.json and docs/performance.md.
"""

import argparse
import json
import os
import re
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

ALONE = "alone"
WARM_UP = 0.25  # of the round trips that are timed
PERF_G, OFFCPUTIME = "perf record -g", "offcputime"
PERF = "perf record -a -m 8192 -e sched:sched_switch,sched:sched_waking -g -N"
BESIDE_OFFCPUTIME = """sh -c '
offcputime >/dev/null 2>&1 & recorder=$!
until ls -l /proc/$recorder/fd | grep -q bpf_link; do sleep 0.05; done
"$@"; status=$?
kill -INT $recorder; wait $recorder; exit $status' offcputime"""
"""It takes no command. That it has attached shows in what it holds open."""

RECORDERS = {
    ALONE: "",
    "offwake": f"{OFFWAKE} record --sources sched -o FILE --",
    "offwake, default sources": f"{OFFWAKE} record -o FILE --",
    "offwake --no-wakers": f"{OFFWAKE} record --sources sched --no-wakers -o FILE --",
    "offwake, trace:sched:sched_switch": f"{OFFWAKE} record --sources trace:sched:sched_switch -o FILE --",
    PERF_G: f"{PERF} -o FILE --",
    "perf record -g -z": f"{PERF} -z -o FILE --",
    OFFCPUTIME: BESIDE_OFFCPUTIME,
}
"""Name → the command that records another one into FILE. perf gets rings as large as offwake takes by default."""


@dataclass(frozen=True)
class Run:
    """One run of the workload, and what the recorder beside it used.

    `recorder_cpu_s` is of all its processes from beginning to end; `capture_user_s` only user time, while the timed workload
    ran. `start_s` is how long it took until the workload began. `events` and `file_mb` are of the warm-up too.
    """

    us_per_round_trip: float
    start_s: float
    recorder_cpu_s: float
    capture_user_s: float
    peak_memory_mb: float
    file_mb: float
    events: int
    lost: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each recorder (default 5)")
    parser.add_argument(
        "--round-trips", type=int, default=300_000, help="of the workload, in each run (default 300000)"
    )
    arguments = parser.parse_args()

    runs: dict[str, list[Run]] = {name: [] for name in RECORDERS}
    turns = [name for _ in range(arguments.rounds) for name in RECORDERS]
    for name in track(turns, "recording"):
        with tempfile.TemporaryDirectory() as folder:
            runs[name].append(run(RECORDERS[name], Path(folder) / "recording", arguments.round_trips))

    results = {
        "machine": machine(),
        "round_trips": arguments.round_trips,
        "runs": {name: [asdict(one) for one in of_recorder] for name, of_recorder in runs.items()},
        "summary": summarize(runs),
    }
    publish("recording", results, "\n".join(markdown(results)))


def run(recorder: str, file: Path, round_trips: int) -> Run:
    """Run the workload once beside a recorder (none if empty)."""
    bench = "taskset -c 0 perf bench -f simple sched pipe -l"
    # A recorder is the parent of what it records; field 14 is its user time so far, in hundredths of a second. `times`
    # prints the CPU time of the shell, and then that of the workload, which is not the recorder's.
    user = "cut -d' ' -f14 /proc/$PPID/stat"
    warm_up = f"{bench} {int(WARM_UP * round_trips)} >/dev/null"
    workload = ["sh", "-c", f"date +%s.%N; {warm_up} && {user} && {bench} {round_trips} && {user} && times"]
    command = ["unshare", "--mount", "sh", "-c", f'{WITH_TRACEFS} {recorder.replace("FILE", str(file))} "$@"', "sh"]
    messages = file.with_name("messages")
    began = time.time()
    with (
        messages.open("w") as log,
        subprocess.Popen([*command, *workload], stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdout
        output = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"failed with {process.returncode}: {recorder or 'the workload'}\n{messages.read_text()}")
    begins, user_before, seconds, user_after, *_, workload_times = output.splitlines()
    events, lost, peak_memory_bytes = what_it_says(file) if file.exists() else (0, 0, None)
    return Run(
        us_per_round_trip=float(seconds) / round_trips * 1e6,
        start_s=float(begins) - began,
        recorder_cpu_s=usage.ru_utime + usage.ru_stime - cpu_seconds(workload_times),
        capture_user_s=(int(user_after) - int(user_before)) / 100,
        peak_memory_mb=(peak_memory_bytes or usage.ru_maxrss << 10) / (1 << 20),
        file_mb=file.stat().st_size / 1e6 if file.exists() else 0,
        events=events,
        lost=lost,
    )


def cpu_seconds(times: str) -> float:
    """Add up a line of the shell's `times`, such as 0m0.52s 1m3.20s."""
    return sum(int(minutes) * 60 + float(seconds) for minutes, seconds in re.findall(r"(\d+)m([\d.]+)s", times))


def stored_events(file: Path) -> int:
    """How many events a recording holds, by the tool that made it."""
    return what_it_says(file)[0]


def what_it_says(file: Path) -> tuple[int, int, int | None]:
    """How many events a recording holds, how many were lost, and the recorder's peak memory in bytes, by its own tool.

    perf says nothing of its memory. `ru_maxrss` would do for all, did it not begin with what the process's parent had.
    """
    with file.open("rb") as opened:
        is_perf_data = opened.read(8) == b"PERFILE2"
    if is_perf_data:
        report = subprocess.run(["perf", "report", "--stats", "-i", file], check=True, capture_output=True, text=True)
        _, _, *by_event = report.stdout.split(" stats:")  # after counts of records, one of which tells of many lost events
        lines = [line.split() for one in by_event for line in one.splitlines() if " events:" in line]
        stored, lost = (sum(int(count) for name, _, count in lines if name == of) for of in ("SAMPLE", "LOST_SAMPLES"))
        return stored, lost, None
    info = subprocess.run([OFFWAKE, "info", file, "--json"], check=True, capture_output=True, text=True)
    document = json.loads(info.stdout)
    return document["events"], document["lost"]["total"], document["own_cost"]["peak_memory_bytes"]


def summarize(runs: dict[str, list[Run]]) -> dict[str, dict[str, float]]:
    """Medians of each recorder's runs, with its added cost, and that cost's ratio to those of the references."""
    medians = {
        name: {field: statistics.median(asdict(one)[field] for one in of_recorder) for field in Run.__annotations__}
        for name, of_recorder in runs.items()
    }
    for median in medians.values():
        median["added_us"] = median["us_per_round_trip"] - medians[ALONE]["us_per_round_trip"]
    for name, median in medians.items():
        median["of_perf"] = median["added_us"] / medians[PERF_G]["added_us"]
        median["of_offcputime"] = median["added_us"] / medians[OFFCPUTIME]["added_us"]
        user_s = sum(one.capture_user_s for one in runs[name])  # of all: a run's is counted in hundredths of a second
        timed = sum(one.events for one in runs[name]) / (1 + WARM_UP)
        median["user_ns_per_event"] = 1e9 * user_s / max(timed, 1)
    return medians


def markdown(results: dict[str, Any]) -> Iterator[str]:
    """The lines of the table on the page."""
    machine, summary = results["machine"], results["summary"]
    rounds = len(results["runs"][ALONE])
    yield f"{machine['cpus']} CPUs ({machine['model']}), Linux {machine['kernel']}, {rounds} rounds of"
    alone_us = summary[ALONE]["us_per_round_trip"]
    yield f"{results['round_trips']:,} round trips after a quarter as many; {alone_us:.2f} µs a round trip alone."
    yield ""
    yield (
        "| recorder | added, µs | of perf -g | of offcputime | file, MB | events stored | lost | user CPU an event, ns "
        "| own CPU, s | peak memory, MB | start, s |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for name, median in summary.items():
        if name != ALONE:
            in_file = [f"{median['file_mb']:.1f}", f"{median['events']:,.0f}", f"{median['lost']:,.0f}"]
            in_file += [f"{median['user_ns_per_event']:.0f}"]
            yield (
                f"| {name} | {median['added_us']:.2f} | {median['of_perf']:.2f} | {median['of_offcputime']:.2f} "
                f"| {' | '.join(in_file if name != OFFCPUTIME else ['–'] * len(in_file))} "
                f"| {median['recorder_cpu_s']:.2f} | {median['peak_memory_mb']:.0f} | {median['start_s']:.2f} |"
            )


if __name__ == "__main__":
    main()
