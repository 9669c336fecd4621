"""How the recorder stands loads from nothing to more than it can take, with rings from small to large.

benchmarks/load.c wakes threads so many times a second on every CPU. The recorder is offwake's own, with rings of a size that
its command does not give, and says once a second what it has used. What the kernel counted is held against what is in
the file, event by event: `attempted - stored - failed` and `stored - decoded` must be 0.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.live import recorder
from benchmarks.page import machine, publish
from offwake.analyzer.decode import LOST, Decoder
from offwake.analyzer.recording import Recording
from offwake.analyzer.stacks import StackTable
from offwake.format.layout import Kind

__all__ = ["DEFAULT_KIB", "LOADS", "RING_KIB", "Load", "Run", "build", "run"]

SOURCE = Path(__file__).with_name("load.c")
CPUS = sorted(os.sched_getaffinity(0))
DEFAULT_KIB = (64 << 10) // len(CPUS)  # of a ring, as `record` has them by default
RING_KIB = (256, 1024, 4096)
EVENTS_A_ROUND_TRIP = 3
SECONDS = 3
REPORTS_BEFORE = 4  # until it has learned where callers are in what always runs on the machine

RECORD = """
import json, resource, sys, time
from pathlib import Path
from offwake.recorder.options import Options, Progress
from offwake.recorder.session import record
from offwake.recorder.sources import chosen_sources

def tell(progress: Progress) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {"s": time.monotonic(), "events": progress.events, "cpu_s": progress.own_cpu_s}
    print(json.dumps(told | {"user_s": used.ru_utime, "wakeups": used.ru_nvcsw}), flush=True)

path, buffer_bytes = sys.argv[1:]
result = record(Options(Path(path), chosen_sources(["sched"]), buffer_bytes=int(buffer_bytes)), tell)
sys.exit(3 if any(result.lost.values()) else 0)
"""


@dataclass(frozen=True)
class Load:
    """Round trips on each CPU, and how many a second; a rate of 0 is as fast as it goes."""

    name: str
    round_trips: int
    rate: int

    @staticmethod
    def of(events_a_second: int) -> "Load":
        """Return the load that has about so many events a second, on all CPUs together."""
        rate = events_a_second // EVENTS_A_ROUND_TRIP // len(CPUS)
        return Load(f"{events_a_second // 1000}k events/s", rate * SECONDS, rate)


LOADS = (
    Load("none", 0, 0),
    *(Load.of(thousands * 1000) for thousands in (1, 10, 50, 100, 200)),
    Load("as much as goes", 60_000 * SECONDS, 0),
    Load("5,000 events, then none", 5_000 // EVENTS_A_ROUND_TRIP // len(CPUS), 0),
)


@dataclass(frozen=True)
class Run:
    """A load beside a recorder, and what became of its events. `decoded` are in the file, the others the kernel counted."""

    load: str
    ring_kib: int
    attempted: int
    stored: int
    failed: int
    decoded: int
    events_a_second: float
    wakeups_a_second: float
    cpu_percent: float
    user_ns_an_event: float
    memory_mb: float
    grown_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ring-kib", type=int, nargs="+", default=RING_KIB, help="of each CPU (default 256 1024 4096)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        turns = [(load, ring_kib) for load in LOADS for ring_kib in arguments.ring_kib]
        runs = [run(program, load, ring_kib) for load, ring_kib in track(turns, "recording")]
    results = {"machine": machine(), "runs": [asdict(one) for one in runs]}
    publish("loads", results, "\n".join(markdown(results, runs)))


def build(folder: Path) -> Path:
    """Compile the load; returns the program."""
    program = folder / "load"
    subprocess.run(["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-pthread", "-o", program, SOURCE], check=True)
    return program


def run(program: Path, load: Load, ring_kib: int) -> Run:
    """Record a load once. What the recorder used is what it says after the load, less what it said before."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.offwake"
        command: list[str | Path] = [sys.executable, "-c", RECORD, file, str(ring_kib * len(CPUS) << 10)]
        with recorder(command, file) as process:
            for _ in range(REPORTS_BEFORE):
                before = next_report(process)
            held_mb = memory_mb(process.pid, "VmRSS")
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # VmHWM begins anew
            subprocess.run([program, str(load.round_trips), str(load.rate), *map(str, CPUS)], check=True)
            for _ in range(1 if load.rate else SECONDS):  # where the load takes no time there are some reports without it
                after = next_report(process)
            most_mb = memory_mb(process.pid, "VmHWM")
        attempted, stored, failed, decoded = counts(file)
    used = {name: after[name] - before[name] for name in after}
    return Run(
        load=load.name,
        ring_kib=ring_kib,
        attempted=attempted,
        stored=stored,
        failed=failed,
        decoded=decoded,
        events_a_second=used["events"] / used["s"],
        wakeups_a_second=used["wakeups"] / used["s"],
        cpu_percent=100 * used["cpu_s"] / used["s"],
        user_ns_an_event=1e9 * used["user_s"] / used["events"],
        memory_mb=most_mb,
        grown_mb=most_mb - held_mb,
    )


def next_report(process: "subprocess.Popen[str]") -> dict[str, float]:
    """Return the next thing that the recorder says of itself; what it said before the call is passed over."""
    now = time.monotonic()
    assert process.stdout
    for line in process.stdout:
        report: dict[str, float] = json.loads(line)
        if report["s"] > now:
            return report
    sys.exit("the recorder ended")


def memory_mb(pid: int, which: str) -> float:
    """Return a figure of a process's memory: VmRSS now, VmHWM at most. Rings are in neither."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status[which].split()[0]) / 1024


def counts(file: Path) -> tuple[int, int, int, int]:
    """Return how many events the kernel attempted, stored and failed to store, and how many the file holds."""
    decoded = 0
    with Recording.open(file) as recording:
        decoder = Decoder(recording.keyframe, StackTable())
        for block in recording.reader.blocks:
            if block.kind == Kind.EVENTS and (span := recording.reader.payload(block)) is not None:
                decoded += sum(len(rows) for kind, rows in decoder.decode(span, block.stream).items() if kind != LOST)
        rows = [row for kinds in recording.last_tick["counters"].values() for row in kinds.values()]
    attempted, stored, failed = (sum(row[column] for row in rows) for column in range(3))
    return attempted, stored, failed, decoded


def markdown(results: dict[str, Any], runs: list[Run]) -> Iterator[str]:
    """The lines of the table on the page."""
    where = results["machine"]
    yield f"{where['cpus']} CPUs ({where['model']}), Linux {where['kernel']}."
    yield ""
    yield (
        "| load | ring, KiB | events/s | attempted | lost | unaccounted | wakeups/s | own CPU, % | user CPU an event, ns "
        "| memory, MB | grown, MB |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for one in runs:
        unaccounted = abs(one.attempted - one.stored - one.failed) + abs(one.stored - one.decoded)
        yield (
            f"| {one.load} | {one.ring_kib:,} | {one.events_a_second:,.0f} | {one.attempted:,} | {one.failed:,} "
            f"| {unaccounted:,} | {one.wakeups_a_second:.0f} | {one.cpu_percent:.1f} | {one.user_ns_an_event:,.0f} "
            f"| {one.memory_mb:.0f} | {one.grown_mb:.0f} |"
        )


if __name__ == "__main__":
    main()
