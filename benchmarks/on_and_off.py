"""What offwake's programs cost PostgreSQL: they are on for a second and off for one, in turns, while pgbench runs.

Beside `benchmarks.postgres`, where recorders start and end, this is what stays of the cost when a recorder has started and
learned; and a second is held against the one before and the one after it, between which the pace of pgbench, and of the
machine under it, hardly changes.
"""

import argparse
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.progress import track

from benchmarks.page import machine, publish
from benchmarks.postgres import (
    IN_MEMORY,
    ON_DISK,
    PERF_BUFFER,
    SETTLING_S,
    beside,
    pace,
    postgresql,
    running,
    transactions,
)

FLIPPING = f"{sys.executable} -m benchmarks.flipping FLIPS -o FOLDER/recording"
RECORDERS = {
    "programs that do nothing": f"{sys.executable} -m benchmarks.perf_buffer --empty --flips FLIPS",
    PERF_BUFFER: f"{sys.executable} -m benchmarks.perf_buffer --flips FLIPS",
    "offwake": FLIPPING,
    "offwake --sources sched": f"{FLIPPING} --sources sched",
    "offwake --no-wakers": f"{FLIPPING} --no-wakers",
    "offwake --min-block-us 1000": f"{FLIPPING} --min-block-us 1000",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="of each recording (default 60)")
    parser.add_argument("--disk", default=ON_DISK, help=f"a folder on a disk (default {ON_DISK})")
    arguments = parser.parse_args()
    results: dict[str, dict[str, list[float]]] = {}
    for how, folder in (("on a disk", arguments.disk), ("in memory", IN_MEMORY)):
        with postgresql(folder) as pgbench:
            load = f"{pgbench} --client 4 --jobs 2 --no-vacuum"
            names = track(RECORDERS, how)
            results[how] = {name: losses(load, RECORDERS[name], arguments.seconds) for name in names}
    where = machine()
    lines = [
        f"{where['cpus']} CPUs ({where['model']}), Linux {where['kernel']};",
        f"recordings of {arguments.seconds:g} s; medians, and the middle half.",
        "",
        "| recorder | pgbench | loss | seconds on |",
        "|---|---|---|---|",
    ]
    for how, by_name in results.items():
        for name, found in by_name.items():
            low, loss, high = np.quantile(found, [0.25, 0.5, 0.75])
            lines.append(f"| {name} | {how} | {loss:.1f} % ({low:.1f} to {high:.1f}) | {len(found)} |")
    publish("on-and-off", {"machine": where, "losses": results}, "\n".join(lines))


def losses(load: str, recorder: str, seconds: float) -> list[float]:
    """Return of every second with the programs on how many percent slower pgbench was than in those around it."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as logs, tempfile.TemporaryDirectory(dir=ON_DISK) as folder:
        with running(f"{load} --log --log-prefix={logs}/log postgres"):
            flips = Path(folder) / "flips"
            with beside(recorder.replace("FLIPS", str(flips)).replace("FOLDER", folder)):
                time.sleep(2 * SETTLING_S + seconds)
            log = transactions(Path(logs))
            turns = [line.split() for line in flips.read_text().splitlines()]
    times = [(float(begin), bool(int(is_on))) for begin, is_on in turns]
    since = times[0][0] + 2 * SETTLING_S  # half of it on: then it has learned
    paces = [
        (pace(log, (begin, end)).transactions_a_second, is_on)
        for (begin, is_on), (end, _) in pairwise(times)
        if begin >= since
    ]
    around = zip(paces, paces[1:], paces[2:], strict=False)
    return [100 * (1 - 2 * now / (before + after)) for (before, _), (now, is_on), (after, _) in around if is_on]


if __name__ == "__main__":
    main()
