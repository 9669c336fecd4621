"""What recording costs PostgreSQL, beside perf and offcputime.

pgbench runs its TPC-B-like transactions on a cluster that is made for it, over TCP on loopback: on a disk, as PostgreSQL is
installed, where every commit waits for it; in memory, as fast as it can, when every microsecond of a recorder is one that a
transaction lacks; and at half the rate that it reaches alone. Beside it the recorders come and go, in turns. The pace of a
database, and of the machine under it, changes by more than what is to be measured: so each recorder is held against the
seconds before and after it; and a process that only starts is one of them, since pgbench takes seconds to find back to its
pace after any disturbance. The kernel says besides what share of the CPUs its BPF programs took, and what the recorder
itself.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.page import OFFWAKE, WITH_TRACEFS, machine, publish
from benchmarks.recording import ALONE, OFFCPUTIME, PERF, PERF_G, what_it_says
from benchmarks.sources import all_taken_ns, statistics_of_programs

__all__ = ["postgresql"]

ON_DISK, IN_MEMORY = "/var/tmp", "/dev/shm"
PORT = 54332
SETTLING_S = 5.0
"""From the start of pgbench, and of a recorder, until it counts: a recorder starts and learns, and pgbench has to find back
to its pace."""
PERF_BUFFER = "only a perf buffer"
ONLY_STARTS = "only a process that starts"
BUSY_S = 0.5
STARTING = f"import time\nwhile time.process_time() < {BUSY_S}: pass\ntime.sleep(1000)"
RECORDERS = {
    "offwake": f"{OFFWAKE} record -o FILE",
    "offwake --no-wakers": f"{OFFWAKE} record --no-wakers -o FILE",
    "offwake --min-block-us 1000": f"{OFFWAKE} record --min-block-us 1000 -o FILE",
    PERF_G: f"{PERF} -o FILE",
    OFFCPUTIME: "offcputime",
    PERF_BUFFER: f"{sys.executable} -m benchmarks.perf_buffer",
    ONLY_STARTS: f"{sys.executable} -c '{STARTING}'",
}
ACCOUNTED = {
    "offwake": f"{OFFWAKE} record -o FILE",
    "offwake --sources sched": f"{OFFWAKE} record --sources sched -o FILE",
    "offwake --sources sched --no-wakers": f"{OFFWAKE} record --sources sched --no-wakers -o FILE",
    "offwake --sources sched --user-stacks fp": f"{OFFWAKE} record --sources sched --user-stacks fp -o FILE",
    OFFCPUTIME: RECORDERS[OFFCPUTIME],
    PERF_BUFFER: RECORDERS[PERF_BUFFER],
}


@dataclass(frozen=True)
class Pace:
    """Transactions a second in some seconds of pgbench, and how long one took."""

    transactions_a_second: float
    latency_ms: float


@dataclass(frozen=True)
class Run:
    """The pace beside a recorder, and alone before and after it; and what the recorder made of a second."""

    beside: Pace
    alone: Pace
    file_mb: float
    events: float
    lost: float


@dataclass(frozen=True)
class Account:
    """What a recorder took of all CPUs while pgbench ran, in percent: its BPF programs, and its own process."""

    in_kernel: float
    itself: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each recorder (default 5)")
    parser.add_argument("--seconds", type=float, default=3, help="of each turn (default 3)")
    parser.add_argument("--disk", default=ON_DISK, help=f"a folder on a disk (default {ON_DISK})")
    arguments = parser.parse_args()
    turns = arguments.rounds, arguments.seconds
    options = "--client 4 --jobs 2 --no-vacuum"
    with postgresql(arguments.disk) as pgbench:
        on_disk = measured(f"{pgbench} {options}", *turns)
    with postgresql(IN_MEMORY) as pgbench:
        as_fast = measured(f"{pgbench} {options}", *turns)
        rate = round(alone_in(as_fast).transactions_a_second / 2)
        at_half = measured(f"{pgbench} {options} --rate {rate}", *turns)
        accounts = accounted(f"{pgbench} {options}", *turns)
    found = {
        "on a disk": on_disk,
        "in memory, as fast as it can": as_fast,
        f"in memory, at {rate:,} transactions a second": at_half,
    }
    results = {
        "machine": machine(),
        "runs": {
            how: {name: [asdict(one) for one in mine] for name, mine in runs.items()} for how, runs in found.items()
        },
        "accounts": {name: [asdict(one) for one in mine] for name, mine in accounts.items()},
    }
    where = results["machine"]
    said = f"{turns[0]} turns of {turns[1]:g} s each; medians, and the middle half of the losses."
    lines = [
        f"{where['cpus']} CPUs ({where['model']}), Linux {where['kernel']};",
        said,
        *table(found),
        *account_table(accounts),
    ]
    publish("postgres", results, "\n".join(lines))


@contextmanager
def postgresql(parent: str) -> Iterator[str]:
    """Run a cluster of PostgreSQL in a folder of its own; yields the command that puts load on it, without options."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    as_postgres = "setpriv --reuid postgres --regid postgres --clear-groups"
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        subprocess.run(["chown", "postgres", folder], check=True)

        def do(command: str) -> None:
            subprocess.run(command, shell=True, check=True, cwd=folder, stdout=subprocess.DEVNULL)

        do(f"{as_postgres} {binaries}/initdb --pgdata data --auth trust")
        where = f"-k {folder} -p {PORT} -c listen_addresses=127.0.0.1"
        do(f"{as_postgres} {binaries}/pg_ctl --pgdata data -w -l log -o '{where}' start")
        try:
            pgbench = f"{binaries}/pgbench -h 127.0.0.1 -p {PORT} -U postgres"
            do(f"{pgbench} --initialize --quiet --scale 5 postgres 2>&1")
            yield pgbench
        finally:
            do(f"{as_postgres} {binaries}/pg_ctl --pgdata data -m immediate stop")


def measured(load: str, rounds: int, seconds: float) -> dict[str, list[Run]]:
    """Run a load, and beside it every recorder, in turns."""
    runs: dict[str, list[Run]] = {name: [] for name in RECORDERS}
    turns = []
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as logs, running(f"{load} --log --log-prefix={logs}/log postgres"):
        before = window(seconds)
        for name in track([name for _ in range(rounds) for name in RECORDERS], "recording"):
            with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
                file = Path(folder) / "recording"
                with beside(RECORDERS[name].replace("FILE", str(file))):
                    during = window(seconds)
                made = what_was_made(file, SETTLING_S + seconds)
            after = window(seconds)
            turns.append((name, before, during, after, made))
            before = after
        log = transactions(Path(logs))
    for name, before, during, after, made in turns:
        alone = medians([pace(log, before), pace(log, after)])
        runs[name].append(Run(pace(log, during), Pace(*alone), *made))
    return runs


@contextmanager
def running(load: str) -> Iterator[None]:
    """Run pgbench until the block ends."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(f"{load} --time 100000".split(), stdout=quiet, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield
            if process.poll() is not None:
                sys.exit(f"ended by itself with {process.returncode}: {load}\n{process.communicate()[1]}")
        finally:
            process.terminate()


@contextmanager
def beside(recorder: str) -> Iterator[int]:
    """Run a recorder until the block ends; yields its process."""
    shell = ["unshare", "--mount", "sh", "-c", f"{WITH_TRACEFS} {recorder}"]
    with subprocess.Popen(shell, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process.pid
            if process.poll() is not None:
                sys.exit(f"ended by itself with {process.returncode}: {recorder}\n{process.communicate()[1]}")
        finally:
            process.terminate()
            process.communicate()


def window(seconds: float) -> tuple[float, float]:
    """Let some time pass that does not count, and some that does; returns when that began and ended."""
    time.sleep(SETTLING_S)
    began = time.time()
    time.sleep(seconds)
    return began, time.time()


def what_was_made(file: Path, seconds: float) -> tuple[float, float, float]:
    """Return how large a recording became in a second, how many events it holds, and how many were lost."""
    if not file.exists():
        return 0, 0, 0
    events, lost, _ = what_it_says(file)
    return file.stat().st_size / 1e6 / seconds, events / seconds, lost / seconds


def transactions(folder: Path) -> NDArray[np.float64]:
    """Return of every transaction in pgbench's logs when it ended, and how many microseconds it took, in order."""
    rows = [line.split() for path in folder.iterdir() for line in path.read_text().splitlines(keepends=True)[:-1]]
    log = np.array([(int(row[4]) + int(row[5]) / 1e6, float(row[2])) for row in rows])
    return log[np.argsort(log[:, 0])]


def pace(log: NDArray[np.float64], of: tuple[float, float]) -> Pace:
    """Return the pace of pgbench between two times."""
    begin, end = np.searchsorted(log[:, 0], of)
    return Pace(float(end - begin) / (of[1] - of[0]), float(log[begin:end, 1].mean()) / 1e3)


def accounted(load: str, rounds: int, seconds: float) -> dict[str, list[Account]]:
    """Run a load, and beside it every recorder that is accounted for, in turns."""
    found: dict[str, list[Account]] = {name: [] for name in ACCOUNTED}
    with statistics_of_programs(), running(f"{load} postgres"):
        for name in track([name for _ in range(rounds) for name in ACCOUNTED], "accounting"):
            with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
                with beside(ACCOUNTED[name].replace("FILE", f"{folder}/recording")) as pid:
                    found[name].append(account(pid, seconds))
    return found


def account(pid: int, seconds: float) -> Account:
    """Account for a recorder, once it has learned what there is to be learned."""
    time.sleep(SETTLING_S)
    began, in_kernel_ns, own_s = time.monotonic(), all_taken_ns(pid), own_cpu_s(pid)
    time.sleep(seconds)
    in_kernel_ns, own_s = all_taken_ns(pid) - in_kernel_ns, own_cpu_s(pid) - own_s
    cpu_s = (time.monotonic() - began) * (os.cpu_count() or 1)
    return Account(100 * in_kernel_ns / 1e9 / cpu_s, 100 * own_s / cpu_s)


def own_cpu_s(pid: int) -> float:
    """Return the CPU time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def medians(rows: Iterable[Any]) -> list[float]:
    """Return the median of each figure of some records that are alike."""
    return [statistics.median(column) for column in zip(*map(astuple, rows), strict=True)]


def alone_in(runs: dict[str, list[Run]]) -> Pace:
    """Return the pace of pgbench alone, between all turns."""
    return Pace(*medians(one.alone for mine in runs.values() for one in mine))


def table(found: dict[str, dict[str, list[Run]]]) -> Iterator[str]:
    """The lines of the tables on the page."""
    for how, runs in found.items():
        yield from ("", f"pgbench {how}:", "")
        yield "| recorder | transactions/s | loss | a transaction, ms | file, MB/s | events stored/s | events lost/s |"
        yield "|---|---|---|---|---|---|---|"
        alone = alone_in(runs)
        yield f"| {ALONE} | {alone.transactions_a_second:,.0f} | – | {alone.latency_ms:.2f} | – | – | – |"
        for name, mine in runs.items():
            rate, latency = medians(one.beside for one in mine)
            losses = [100 * (1 - one.beside.transactions_a_second / one.alone.transactions_a_second) for one in mine]
            low, loss, high = np.quantile(losses, [0.25, 0.5, 0.75])
            made = [statistics.median(getattr(one, what) for one in mine) for what in ("file_mb", "events", "lost")]
            in_file = (
                [f"{made[0]:.2f}", f"{made[1]:,.0f}", f"{made[2]:,.0f}"] if "FILE" in RECORDERS[name] else ["–"] * 3
            )
            of_alone = f"{loss:.1f} % ({low:.1f} to {high:.1f})"
            yield f"| {name} | {rate:,.0f} | {of_alone} | {latency:.2f} | {' | '.join(in_file)} |"


def account_table(accounts: dict[str, list[Account]]) -> Iterator[str]:
    """The lines of the table of what recorders took."""
    yield from ("", "What recording took of the CPUs, in memory, as fast as it can:", "")
    yield "| recorder | its BPF programs, % | itself, % |"
    yield "|---|---|---|"
    for name, mine in accounts.items():
        in_kernel, itself = medians(mine)
        yield f"| {name} | {in_kernel:.1f} | {itself:.1f} |"


if __name__ == "__main__":
    main()
