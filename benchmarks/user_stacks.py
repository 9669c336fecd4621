"""What whole user stacks cost and bring, beside frame pointers and `perf record --call-graph dwarf`.

Cost: `perf bench sched pipe` on one CPU, alone and beside each recorder, in turns; and two Pythons that pass a byte to and
fro. Wholeness: PostgreSQL under pgbench, of a cluster made for it, recorded by each in turns; of every wait the stack is
whole if it reaches a beginning that is known. Speed: stacks a second from perf's file to text, from offwake's file to
folded stacks, and of offwake's unwinder alone.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.page import OFFWAKE, WITH_TRACEFS, machine, publish
from benchmarks.postgres import postgresql
from benchmarks.recording import ALONE, WARM_UP, Run, run
from offwake.analyzer.decode import Decoder
from offwake.analyzer.naming import BEGINNINGS
from offwake.analyzer.recording import Recording
from offwake.analyzer.stacks import StackTable
from offwake.format.layout import Kind

EVENTS = "-e sched:sched_switch,sched:sched_waking -N"
FP, WHOLE, PERF_FP, PERF_DWARF = "offwake, fp", "offwake, auto", "perf record -g", "perf record --call-graph dwarf"
RECORDERS = {
    ALONE: "",
    FP: f"{OFFWAKE} record --sources sched --user-stacks fp -o FILE --",
    WHOLE: f"{OFFWAKE} record --sources sched -o FILE --",
    PERF_FP: f"perf record -a -m 8192 -g {EVENTS} -o FILE --",
    PERF_DWARF: f"perf record -a -m 8192 --call-graph dwarf {EVENTS} -o FILE --",
}


PYTHON = """
import os, time
TRIPS = 20000
def deep(depth, act):
    return deep(depth - 1, act) if depth else act()
there, back = os.pipe(), os.pipe()
if os.fork():
    def trip():
        began = time.perf_counter()
        for _ in range(TRIPS):
            os.write(there[1], b'x'); os.read(back[0], 1)
        return time.perf_counter() - began
    print(deep(10, trip) / TRIPS * 1e6)
else:
    def echo():
        for _ in range(TRIPS):
            os.read(there[0], 1); os.write(back[1], b'x')
    deep(10, echo)
"""


@dataclass(frozen=True)
class Wholeness:
    """Of one recording of PostgreSQL: how many user stacks it holds, how many are whole, and how fast they were had."""

    stacks: int
    whole: int
    stacks_a_second: float
    file_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each recorder (default 5)")
    parser.add_argument("--round-trips", type=int, default=50_000, help="of the pipe, in each run (default 50000)")
    parser.add_argument("--transactions", type=int, default=250, help="of each of pgbench's four clients (default 250)")
    arguments = parser.parse_args()
    runs: dict[str, list[Run]] = {name: [] for name in RECORDERS}
    for name in track([name for _ in range(arguments.rounds) for name in RECORDERS], "cost"):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            runs[name].append(run(RECORDERS[name], Path(folder) / "recording", arguments.round_trips))
    python = {name: python_cost(RECORDERS[name], arguments.rounds) for name in (ALONE, FP, WHOLE)}
    with postgresql("/var/tmp") as pgbench:
        load = f"{pgbench} --client 4 --no-vacuum postgres --transactions"
        found = {name: wholeness(RECORDERS[name], load, arguments.transactions) for name in (FP, WHOLE, PERF_DWARF)}
        alone = unwinder_alone(load, arguments.transactions)
    results = {
        "machine": machine(),
        "round_trips": arguments.round_trips,
        "runs": {name: [asdict(one) for one in of_recorder] for name, of_recorder in runs.items()},
        "postgresql": {name: asdict(one) for name, one in found.items()},
        "unwinder_stacks_a_second": alone,
        "python_us_per_round_trip": python,
    }
    publish("user-stacks", results, "\n".join(markdown(results)), on_page="recording.md")


def python_cost(recorder: str, rounds: int) -> float:
    """Return the median time of a round trip between two Pythons beside a recorder, in µs."""
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            command = recorder.replace("FILE", f"{folder}/recording").split()
            done = subprocess.run(
                [*command, "taskset", "-c", "0", sys.executable, "-c", PYTHON], capture_output=True, text=True
            )
            if done.returncode != 0:
                sys.exit(f"failed with {done.returncode}: {recorder or 'Python alone'}\n{done.stderr}")
            found.append(float(done.stdout))
    return statistics.median(found)


@contextmanager
def recorded(recorder: str, load: str, transactions: int) -> Iterator[Path]:
    """Record the load; yields the file."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        file = Path(folder) / "recording"
        script = f"{WITH_TRACEFS} {recorder.replace('FILE', str(file))} {load} {transactions}"
        done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"failed with {done.returncode}: {script}\n{done.stderr}")
        yield file


def wholeness(recorder: str, load: str, transactions: int) -> Wholeness:
    """Record PostgreSQL, and count the user stacks of its processes that are whole."""
    with recorded(recorder, load, transactions) as file:
        began = time.monotonic()
        if recorder.startswith("perf"):
            stacks, whole = of_perf(file)
        else:
            subprocess.run([OFFWAKE, "folded", file, "--view", "off-wake", "--all"], check=True, capture_output=True)
        seconds = time.monotonic() - began
        if not recorder.startswith("perf"):
            with Recording.open(file) as recording:
                found = recording.info()["user_stacks"]
            stacks, whole = found["total"], found["whole"]
        return Wholeness(stacks, whole, stacks / seconds, file.stat().st_size / 1e6)


def of_perf(file: Path) -> tuple[int, int]:
    """Count perf's user stacks, and those with a frame that is known as a beginning. Interrupts' are left out of both."""
    command = ["perf", "script", "-i", str(file), "-F", "comm,ip,sym,event"]
    stacks = whole = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as script:
        assert script.stdout
        frames: list[str] = []
        for line in script.stdout:
            if line.strip():
                frames.append(line.split()[-1])
            else:
                is_interrupt = any(frame.startswith(("asm_common_interrupt", "asm_sysvec_")) for frame in frames)
                if len(frames) > 1 and not is_interrupt and any(frame.startswith("entry_SYSCALL") for frame in frames):
                    stacks += 1
                    whole += not BEGINNINGS.isdisjoint(frames)
                frames = []
    return stacks, whole


def unwinder_alone(load: str, transactions: int) -> float:
    """Record PostgreSQL once more, and unwind every distinct stack of it, ten times over; stacks a second."""
    with recorded(RECORDERS[WHOLE], load, transactions) as file, Recording.open(file) as recording:
        replay = recording.replay()
        for _ in replay:
            pass
        decoder, whole = (
            Decoder(recording.keyframe, StackTable()),
            replay.whole,
        )  # the replay has let go of what it unwound
        for block in recording.reader.blocks:
            if block.kind == Kind.EVENTS and (span := recording.reader.payload(block)):
                decoder.decode(span, block.stream)
        user = decoder.user_stacks
        spaces = np.array([whole.space_at(int(tgid), recording.ended_ns) for tgid in user.tgid], np.int32)
        groups = [(space, np.flatnonzero(spaces == space).astype(np.int32)) for space in np.unique(spaces).tolist()]
        seconds = []
        for _ in range(10):
            began = time.monotonic()
            for space, numbers in groups:
                whole.unwinder.unwind(user, numbers, space)
            seconds.append(time.monotonic() - began)
        return len(user) / statistics.median(seconds)


def markdown(results: dict[str, Any]) -> Iterator[str]:
    """The lines of the tables on the page."""
    runs, found = results["runs"], results["postgresql"]
    us = {
        name: statistics.median(one["us_per_round_trip"] for one in of_recorder) for name, of_recorder in runs.items()
    }
    added = {name: value - us[ALONE] for name, value in us.items()}
    yield f"{results['machine']['cpus']} CPUs ({results['machine']['model']}), Linux {results['machine']['kernel']};"
    yield f"{len(runs[ALONE])} rounds of {results['round_trips']:,} round trips, {us[ALONE]:.2f} µs each alone; medians."
    yield ""
    yield "| recorder | added to a round trip, µs | of fp | for an event, µs | events stored | bytes an event | own CPU, s |"
    yield "|---|---|---|---|---|---|---|"
    events = {name: statistics.median(one["events"] for one in of_recorder) for name, of_recorder in runs.items()}
    for name, of_recorder in runs.items():
        if name != ALONE:
            size = statistics.median(one["file_mb"] * 1e6 / max(one["events"], 1) for one in of_recorder)
            cpu_s = statistics.median(one["recorder_cpu_s"] for one in of_recorder)
            of_an_event = added[name] * results["round_trips"] * (1 + WARM_UP) / events[FP]
            yield (
                f"| {name} | {added[name]:.2f} | {added[name] / added[FP]:.2f} | {of_an_event:.2f} "
                f"| {100 * events[name] / events[FP]:.0f} % | {size:.1f} | {cpu_s:.2f} |"
            )
    yield ""
    yield "| PostgreSQL under pgbench, recorded by | user stacks | whole | stacks/s, to text | file, MB |"
    yield "|---|---|---|---|---|"
    for name, one in found.items():
        share = f"{100 * one['whole'] / max(one['stacks'], 1):.2f} %"
        yield f"| {name} | {one['stacks']:,} | {share} | {one['stacks_a_second']:,.0f} | {one['file_mb']:.1f} |"
    yield ""
    python = results["python_us_per_round_trip"]
    more = {name: python[name] - python[ALONE] for name in (FP, WHOLE)}
    yield f"Two Pythons that pass a byte to and fro, ten functions deep, take {python[ALONE]:.1f} µs a round trip alone,"
    yield f"{more[FP]:.1f} µs more beside `fp`, and {more[WHOLE]:.1f} µs more beside `auto`, which has their functions."
    yield ""
    yield f"The unwinder alone takes {results['unwinder_stacks_a_second']:,.0f} distinct stacks a second, on one core."


if __name__ == "__main__":
    main()
