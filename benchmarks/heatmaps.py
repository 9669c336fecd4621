"""How much CPU time the server takes for a heat map of a million points, and how large it is, from latencies to the SVG.

The latencies are made up, spread over six decades and ten minutes: what a pass over a recording takes before that is in
`benchmarks.analysis`.
"""

import argparse
import statistics
import time
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.page import machine, publish
from offwake.analyzer.heatmap import latency_map, offset_map
from offwake.analyzer.latencies import Latencies
from offwake.analyzer.render.heatmap import draw
from offwake.analyzer.render.svg import Caption

POINTS = 1_000_000
LENGTH_NS = 600_000_000_000
MAPS = {"latency": latency_map, "offset": offset_map}


@dataclass(frozen=True)
class Run:
    """One heat map made, in so many seconds of CPU time: other programs do not lengthen it."""

    rows: str
    seconds: float
    bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="maps of each kind (default 9)")
    runs = [run(rows) for _ in range(parser.parse_args().rounds) for rows in MAPS]
    lines = ["| heat map of 1,000,000 points by | median, ms of CPU | slowest | SVG, kB |", "|---|---|---|---|"]
    for rows in MAPS:
        mine = [one for one in runs if one.rows == rows]
        took = [1000 * one.seconds for one in mine]
        lines.append(f"| {rows} | {statistics.median(took):.0f} | {max(took):.0f} | {mine[0].bytes / 1000:.0f} |")
    publish("heatmaps", {"machine": machine(), "runs": [asdict(one) for one in runs]}, "\n".join(lines))


def run(rows: str) -> Run:
    """Make one map of a million latencies."""
    chosen = np.random.default_rng(1)
    ended_ns = chosen.integers(0, LENGTH_NS, POINTS)
    latency_ns = (10 ** chosen.normal(5, 1, POINTS)).astype(np.int64)
    found = Latencies("off-cpu", 0, LENGTH_NS, ended_ns, latency_ns)
    began = time.process_time()
    picture = draw(MAPS[rows](found), Caption("off-cpu latency"))
    return Run(rows, time.process_time() - began, len(picture.encode()))


if __name__ == "__main__":
    main()
