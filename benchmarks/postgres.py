"""What recording costs PostgreSQL, beside perf and offcputime.

pgbench runs its TPC-B-like transactions on a cluster that is made for it, alone and beside each recorder, in turns. On a
disk, as PostgreSQL is installed: every commit waits for it. In memory, as fast as it can, when every microsecond of a
recorder is one that a transaction lacks; and at half the rate that it reaches alone. What counts is the median of
transactions a second, and of how long one took. That swings from run to run by more than what is to be measured: so the
kernel says besides what share of the CPUs its BPF programs took, and what the recorder itself.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from rich.progress import track

from benchmarks.page import OFFWAKE, WITH_TRACEFS, machine, publish
from benchmarks.recording import ALONE, BESIDE_OFFCPUTIME, OFFCPUTIME, PERF, PERF_G, what_it_says
from benchmarks.sources import all_taken_ns, statistics_of_programs

__all__ = ["postgresql"]

ON_DISK, IN_MEMORY = "/var/tmp", "/dev/shm"
RECORDERS = {
    ALONE: "",
    "offwake": f"{OFFWAKE} record -o FILE --",
    "offwake --no-wakers": f"{OFFWAKE} record --no-wakers -o FILE --",
    "offwake --min-block-us 1000": f"{OFFWAKE} record --min-block-us 1000 -o FILE --",
    PERF_G: f"{PERF} -o FILE --",
    OFFCPUTIME: BESIDE_OFFCPUTIME,
}
ACCOUNTED = {
    "offwake": f"{OFFWAKE} record -o FILE",
    "offwake --sources sched": f"{OFFWAKE} record --sources sched -o FILE",
    "offwake --sources sched --no-wakers": f"{OFFWAKE} record --sources sched --no-wakers -o FILE",
    "offwake --sources sched --user-stacks fp": f"{OFFWAKE} record --sources sched --user-stacks fp -o FILE",
    OFFCPUTIME: "offcputime",
}


@dataclass(frozen=True)
class Run:
    """One run of pgbench, and what the recorder beside it made of it."""

    transactions_a_second: float
    latency_ms: float
    file_mb: float
    events: int
    lost: int


@dataclass(frozen=True)
class Account:
    """What a recorder took of all CPUs while pgbench ran, in percent: its BPF programs, and its own process."""

    in_kernel: float
    itself: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each recorder (default 5)")
    parser.add_argument("--seconds", type=int, default=20, help="of each run (default 20)")
    parser.add_argument("--disk", default=ON_DISK, help=f"a folder on a disk (default {ON_DISK})")
    arguments = parser.parse_args()
    options = f"--client 4 --jobs 2 --no-vacuum --time {arguments.seconds}"
    with postgresql(arguments.disk) as pgbench:
        on_disk = measured(f"{pgbench} {options} postgres", arguments.rounds)
    with postgresql(IN_MEMORY) as pgbench:
        as_fast = measured(f"{pgbench} {options} postgres", arguments.rounds)
        rate = round(median(as_fast[ALONE]).transactions_a_second / 2)
        at_half = measured(f"{pgbench} {options} --rate {rate} postgres", arguments.rounds)
        accounts = accounted(f"{pgbench} {options} postgres", arguments.rounds, arguments.seconds)
    found = {
        "on a disk": on_disk,
        "in memory, as fast as it can": as_fast,
        f"in memory, at {rate:,} transactions a second": at_half,
    }
    results = {
        "machine": machine(),
        "runs": {how: {name: [asdict(one) for one in mine] for name, mine in runs.items()} for how, runs in found.items()},
        "accounts": {name: [asdict(one) for one in mine] for name, mine in accounts.items()},
    }
    lines = [f"{arguments.rounds} rounds of {arguments.seconds} s each; medians.", *table(found), *account_table(accounts)]
    where = results["machine"]
    publish("postgres", results, "\n".join([f"{where['cpus']} CPUs ({where['model']}), Linux {where['kernel']};", *lines]))


def measured(load: str, rounds: int) -> dict[str, list[Run]]:
    """Run a load alone and beside every recorder, in turns."""
    runs: dict[str, list[Run]] = {name: [] for name in RECORDERS}
    for name in track([name for _ in range(rounds) for name in RECORDERS], "recording"):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            runs[name].append(run(RECORDERS[name], load, Path(folder) / "recording"))
    return runs


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
        do(
            f"{as_postgres} {binaries}/pg_ctl --pgdata data -w -l log -o '-k {folder} -p 54332 -c listen_addresses=' start"
        )
        try:
            pgbench = f"{binaries}/pgbench -h {folder} -p 54332 -U postgres"
            do(f"{pgbench} --initialize --quiet --scale 5 postgres 2>&1")
            yield pgbench
        finally:
            do(f"{as_postgres} {binaries}/pg_ctl --pgdata data -m immediate stop")


def run(recorder: str, load: str, file: Path) -> Run:
    """Run pgbench once beside a recorder (none if empty)."""
    script = f"{WITH_TRACEFS} {recorder.replace('FILE', str(file))} {load}"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True)
    rate, latency = (re.search(rf"^{what} = ([\d.]+)", done.stdout, re.MULTILINE) for what in ("tps", "latency average"))
    if done.returncode not in (0, 3) or not rate or not latency:  # 3: events were lost, which the table tells
        sys.exit(f"failed with {done.returncode}: {script}\n{done.stderr}")
    events, lost, _ = what_it_says(file) if file.exists() else (0, 0, None)
    size_mb = file.stat().st_size / 1e6 if file.exists() else 0
    return Run(float(rate[1]), float(latency[1]), size_mb, events, lost)


def accounted(load: str, rounds: int, seconds: int) -> dict[str, list[Account]]:
    """Run a load beside every recorder that is accounted for, in turns."""
    found: dict[str, list[Account]] = {name: [] for name in ACCOUNTED}
    with statistics_of_programs():
        for name in track([name for _ in range(rounds) for name in ACCOUNTED], "accounting"):
            with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
                found[name].append(account(ACCOUNTED[name].replace("FILE", f"{folder}/recording"), load, seconds))
    return found


def account(recorder: str, load: str, seconds: int) -> Account:
    """Account for the second half of a run of pgbench: then what can be learned of it is learned."""
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(recorder.split(), stdout=nowhere, stderr=nowhere) as process:
        try:
            while not all_taken_ns(process.pid):
                if process.poll() is not None:
                    sys.exit(f"failed with {process.returncode}: {recorder}")
                time.sleep(0.05)
            with subprocess.Popen(load.split(), stdout=nowhere, stderr=nowhere) as running:
                time.sleep(seconds / 2)
                began, in_kernel_ns, own_s = time.monotonic(), all_taken_ns(process.pid), own_cpu_s(process.pid)
                if running.wait():
                    sys.exit(f"failed with {running.returncode}: {load}")
                cpu_s = (time.monotonic() - began) * (os.cpu_count() or 1)
                in_kernel_ns, own_s = all_taken_ns(process.pid) - in_kernel_ns, own_cpu_s(process.pid) - own_s
        finally:
            process.terminate()
    return Account(100 * in_kernel_ns / 1e9 / cpu_s, 100 * own_s / cpu_s)


def own_cpu_s(pid: int) -> float:
    """Return the CPU time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def median(runs: list[Run]) -> Run:
    """Return the median of each figure."""
    return Run(*(statistics.median(column) for column in zip(*map(astuple, runs), strict=True)))


def table(found: dict[str, dict[str, list[Run]]]) -> Iterator[str]:
    """The lines of the tables on the page."""
    for how, runs in found.items():
        yield from ("", f"pgbench {how}:", "")
        yield "| recorder | transactions/s | loss | a transaction, ms | file, MB | events stored | events lost |"
        yield "|---|---|---|---|---|---|---|"
        alone = median(runs[ALONE]).transactions_a_second
        for name, mine in runs.items():
            its = median(mine)
            loss = f"{100 * (1 - its.transactions_a_second / alone):.1f} %" if name != ALONE else "–"
            in_file = [f"{its.file_mb:.1f}", f"{its.events:,.0f}", f"{its.lost:,.0f}"]
            shown = in_file if "FILE" in RECORDERS[name] else ["–"] * len(in_file)
            yield f"| {name} | {its.transactions_a_second:,.0f} | {loss} | {its.latency_ms:.2f} | {' | '.join(shown)} |"


def account_table(accounts: dict[str, list[Account]]) -> Iterator[str]:
    """The lines of the table of what recorders took."""
    yield from ("", "What recording took of the CPUs, in memory, as fast as it can:", "")
    yield "| recorder | its BPF programs, % | itself, % |"
    yield "|---|---|---|"
    for name, mine in accounts.items():
        in_kernel, itself = (statistics.median(column) for column in zip(*map(astuple, mine), strict=True))
        yield f"| {name} | {in_kernel:.1f} | {itself:.1f} |"


if __name__ == "__main__":
    main()
