"""How long the server takes for a heat map of a million points, and how large it is, from latencies to the SVG.

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
    """One heat map made, in so many seconds, and so many of CPU time: other programs do not lengthen that."""

    rows: str
    seconds: float
    cpu_seconds: float
    bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="maps of each kind (default 9)")
    runs = [run(rows) for _ in range(parser.parse_args().rounds) for rows in MAPS]
    lines = ["| heat map of 1,000,000 points by | median, ms | ms of CPU | slowest, ms | SVG, kB |", "|---|---|---|---|---|"]
    for rows in MAPS:
        mine = [one for one in runs if one.rows == rows]
        took, ran = [1000 * one.seconds for one in mine], [1000 * one.cpu_seconds for one in mine]
        figures = statistics.median(took), statistics.median(ran), max(took), mine[0].bytes / 1000
        lines.append(f"| {rows} | {' | '.join(f'{figure:.0f}' for figure in figures)} |")
    publish("heatmaps", {"machine": machine(), "runs": [asdict(one) for one in runs]}, "\n".join(lines))


def run(rows: str) -> Run:
    """Make one map of a million latencies."""
    chosen = np.random.default_rng(1)
    ended_ns = chosen.integers(0, LENGTH_NS, POINTS)
    latency_ns = (10 ** chosen.normal(5, 1, POINTS)).astype(np.int64)
    found = Latencies("off-cpu", 0, LENGTH_NS, ended_ns, latency_ns)
    began, began_running = time.perf_counter(), time.process_time()
    picture = draw(MAPS[rows](found), Caption("off-cpu latency"))
    return Run(rows, time.perf_counter() - began, time.process_time() - began_running, len(picture.encode()))


if __name__ == "__main__":
    main()
