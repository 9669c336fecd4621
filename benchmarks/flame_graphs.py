"""How long a flame graph of a hundred thousand frames takes: the first picture, a zoom, a search, and a browser's memory.

A recording is written of waits at so many stacks that their tree has more than 100,000 frames, and `offwake serve` shows
it: what the server needs is measured with the same application in this process, the browser's part in Chromium.
"""

import argparse
import gc
import random
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from playwright.sync_api import sync_playwright

from benchmarks.page import OFFWAKE, machine, publish
from offwake.analyzer import query
from offwake.analyzer.changes import changes
from offwake.analyzer.compare import Comparison, Part, compare, compared
from offwake.analyzer.profile import Profile
from offwake.analyzer.recording import Recording
from offwake.analyzer.render.difference import Shades, difference_tree
from offwake.analyzer.render.flamegraph import FlameOptions, draw
from offwake.analyzer.render.layout import boxes
from offwake.analyzer.render.svg import Caption
from offwake.analyzer.render.tree import FrameTree
from offwake.analyzer.select import Selection
from offwake.analyzer.views import ViewOptions
from offwake.web.app import create_app
from tests.events import IDLE, Event, Known, Switch, Trace, Waking
from tests.traces import write_trace

SHAPES = {"early and deep": (6_500, 20), "wide and flat": (45_000, 5), "few and very deep": (1_200, 100)}
"""How many waits, each at another stack, and how many frames a stack has."""
SLEEPS = 1  # TASK_INTERRUPTIBLE
PAGE = "flame/off-cpu?all=1"
CHROMIUM = "/usr/bin/chromium"
ZOOM = """async times => {
  const painted = async began => {
    await new Promise(requestAnimationFrame);
    await new Promise(resolve => setTimeout(resolve));
    return performance.now() - began;
  };
  const took = { in: [], out: [], final: [] };
  for (let turn = 0; turn < times; turn++) {
    const before = document.querySelector('main'), began = performance.now();
    before.querySelectorAll('.frames rect')[turn % 2 ? 0 : 3].dispatchEvent(new MouseEvent('click', { bubbles: true }));
    (turn % 2 ? took.out : took.in).push(await painted(began));
    while (document.querySelector('main') === before) await new Promise(requestAnimationFrame);
    took.final.push(await painted(began));
  }
  return took;
}"""
"""Zooms in, and out again: how long until the frame is painted that shows what the page has, and the server's picture."""


@dataclass(frozen=True)
class Run:
    """One figure: of which tree, what, and how much of which unit."""

    shape: str
    what: str
    value: float
    unit: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="times that each is done (default 7)")
    parser.add_argument("--zooms", type=int, default=200, help="zooms in the browser (default 200)")
    arguments = parser.parse_args()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder:
        for shape, (waits, depth) in SHAPES.items():
            file = write_trace(Path(folder, f"{waits}.offwake"), waits_at_stacks(waits, depth))
            other = write_trace(Path(folder, f"{waits}-after.offwake"), waits_at_stacks(waits, depth, seed=8))
            figures = (*server(file, arguments.rounds), *comparison((file, other), arguments.rounds))
            runs += [Run(shape, *figure) for figure in (*figures, *browser(file, arguments.zooms))]
    results = {"machine": machine(), "runs": [asdict(one) for one in runs]}
    publish("flame_graphs", results, "\n".join(markdown(results, runs)))


def waits_at_stacks(waits: int, depth: int, seed: int = 7) -> Trace:
    """Return a recording in which one thread waits so often, each time at another stack, some far longer than most."""
    chosen = random.Random(seed)
    names = [f"function_{number}" for number in range(2_000)]
    events: list[Event] = []
    now = 1_000_000_000
    for _ in range(waits):
        stack = ("main", chosen.choice(names[:5]), *chosen.choices(names, k=depth - 3), "schedule_[k]")
        woken = now + int(chosen.paretovariate(1.1) * 1_000)
        asleep = Switch(now, 0, 7, IDLE, SLEEPS, stack=stack)
        events += [asleep, Waking(woken, 1, 8, 7), Switch(woken + 100, 0, IDLE, 7)]
        now = woken + 200
    threads = [Known(7, 7, "server", "R"), Known(8, 8, "client", "R", 1)]
    return Trace(cpus=2, ended_ns=now, threads=threads, events=events)


def server(file: Path, rounds: int) -> Iterator[tuple[str, float, str]]:
    """Yield what the server needs for a picture whose profile it has, and for the pages around it."""
    with Recording.open(file) as recording:
        profile = query.profile(recording, "off-cpu", Selection(show_all=True))
    tree = FrameTree(profile)
    yield "frames", len(tree), ""
    yield "first picture", median_ms(lambda: first_picture(profile), rounds), "ms"
    yield "its size", len(first_picture(profile).encode()) / 1e3, "kB"
    key = [box.key for box in boxes(tree.root, 1180) if box.key][3]
    tree.find(key)  # the first zoom of all gives every frame its key
    yield "zoom", median_ms(lambda: draw(tree, Caption("off-cpu"), FlameOptions(zoom=key)), rounds), "ms"
    client = create_app([file]).test_client()
    page = base(client) + PAGE
    client.get(page)
    yield "whole page", median_ms(lambda: client.get(page), rounds), "ms"
    yield "whole page, zoomed", median_ms(lambda: client.get(f"{page}&zoom={key}"), rounds), "ms"
    yield "whole page, searched", median_ms(lambda: client.get(f"{page}&search=function_1"), rounds), "ms"


def comparison(files: tuple[Path, Path], rounds: int) -> Iterator[tuple[str, float, str]]:
    """Yield what the server needs to compare two such profiles that it has, and for each picture of that."""
    with Recording.open(files[0]) as before, Recording.open(files[1]) as after:
        everything = Selection(show_all=True)
        found = compare(Part(before, everything), Part(after, everything), "off-cpu", ViewOptions())

    def whole() -> str:
        one = compared((found.before, found.after))
        changes(one)
        return picture(one)

    def picture(one: Comparison) -> str:
        return draw(difference_tree(one, "both"), Caption("off-cpu"), FlameOptions(marks=Shades(one)))

    yield "frames of two, compared", len(found.union.first), ""
    yield "comparison", median_ms(whole, rounds), "ms"
    yield "its picture", median_ms(lambda: picture(found), rounds), "ms"
    yield "its picture's size", len(picture(found).encode()) / 1e3, "kB"


def first_picture(profile: Profile) -> str:
    """Merge a profile's stacks, lay them out and draw them."""
    return draw(FrameTree(profile), Caption("off-cpu"), FlameOptions())


def median_ms(do: Callable[[], object], rounds: int) -> float:
    """Do something so many times, and return how long it usually took."""
    took = []
    for _ in range(rounds):
        gc.collect()
        began = time.perf_counter()
        do()
        took.append(1e3 * (time.perf_counter() - began))
    return statistics.median(took)


def base(client: FlaskClient) -> str:
    """Return the address of the one recording's pages."""
    found = re.search(r"/recording/[0-9a-f]+/", client.get("/").text)
    assert found
    return found[0]


def browser(file: Path, zooms: int) -> Iterator[tuple[str, float, str]]:
    """Yield what Chromium's JavaScript heap holds after some zooms, and after many more, garbage collected."""
    with served(file) as address, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.click("main table a")
        page.goto(page.url.partition("flame/")[0] + PAGE)
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")

        def heap() -> dict[str, float]:
            devtools.send("HeapProfiler.collectGarbage")
            return {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}

        page.evaluate(ZOOM, 10)
        early = heap()
        took = page.evaluate(ZOOM, zooms)
        yield "zoom in the browser, click to picture", statistics.median(took["in"]), "ms"
        yield "zoom out in the browser, click to picture", statistics.median(took["out"]), "ms"
        yield "zoom in the browser, click to the server's", statistics.median(took["final"]), "ms"
        late = heap()
        chromium.close()
    yield "heap after 10 zooms", early["JSHeapUsedSize"] / 1e6, "MB"
    yield f"heap after {zooms} more", late["JSHeapUsedSize"] / 1e6, "MB"
    yield "nodes after 10 zooms", early["Nodes"], ""
    yield f"nodes after {zooms} more", late["Nodes"], ""


@contextmanager
def served(file: Path) -> Iterator[str]:
    """Serve one recording, and yield the address."""
    command: list[str | Path] = [OFFWAKE, "serve", file, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            yield process.stderr.readline().split()[3]
        finally:
            process.terminate()


def markdown(results: dict[str, Any], runs: list[Run]) -> Iterator[str]:
    """The lines of the table on the page."""
    where = results["machine"]
    yield f"{where['cpus']} CPUs ({where['model']}), Linux {where['kernel']}."
    yield ""
    yield f"| | {' | '.join(SHAPES)} |"
    yield "|---" * (len(SHAPES) + 1) + "|"
    for what, unit in dict.fromkeys((one.what, one.unit) for one in runs):
        values = [one.value for one in runs if one.what == what]
        digits = 1 if unit == "MB" else 0
        yield f"| {what}{', ' if unit else ''}{unit} | " + " | ".join(f"{value:,.{digits}f}" for value in values) + " |"


if __name__ == "__main__":
    main()
