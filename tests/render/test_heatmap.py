"""Heat maps: geometry, colours, counts and hostile captions."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from offwake.analyzer.heatmap import Heatmap, latency_heatmap
from offwake.analyzer.render.colours import heat_colour
from offwake.analyzer.render.documents import heatmap_document
from offwake.analyzer.render.heatmap import draw, heat_map
from offwake.analyzer.render.svg import Caption

SVG = "{http://www.w3.org/2000/svg}"
CAPTION = Caption("off-cpu latency", "web01")
RUN = re.compile(r"M(\d+) (\d+)h(\d+)v1H\d+z")


def random_heatmap(points: int = 100_000) -> Heatmap:
    chosen = np.random.default_rng(3)
    when = chosen.integers(0, 10_000_000_000, points)
    latency = (10 ** chosen.normal(5, 1, points)).astype(np.int64)
    return latency_heatmap("off-cpu", when, latency, 10_000_000_000)


def cells(svg: str) -> dict[tuple[int, int], tuple[str, float]]:
    """Return colour and opacity by (row from the top, column)."""
    found = {}
    for path in ET.fromstring(svg.encode()).iter(f"{SVG}path"):
        for column, row, length in RUN.findall(path.get("d", "")):
            for offset in range(int(length)):
                found[int(row), int(column) + offset] = path.get("fill", ""), float(path.get("fill-opacity", ""))
    return found


def test_every_cell_with_a_count_is_drawn_once_and_no_other() -> None:
    heatmap = random_heatmap()
    rows = len(heatmap.rows)
    drawn = {(rows - 1 - row, column) for row, column in cells(draw(heatmap, CAPTION))}
    assert drawn == {(int(row), int(column)) for row, column in np.argwhere(heatmap.counts)}


def test_colours_run_on_a_square_root_scale_from_white_over_orange_to_red() -> None:
    assert heat_colour(0) == ("#ff5032", 0)
    assert heat_colour(0.5) == ("#ff5032", 1)
    assert heat_colour(1) == ("#e50914", 1)
    counts = np.array([[1, 25, 100]])
    heatmap = Heatmap("x", "ns", np.array([0, 1, 2]), 1, np.array([10]), counts)
    drawn = cells(draw(heatmap, CAPTION))
    assert drawn[0, 2] == ("#e50914", 1)
    assert drawn[0, 1] == ("#ff5032", 1)  # a quarter of the most is half of the scale
    assert drawn[0, 0][0] == "#ff5032" and 0 < drawn[0, 0][1] < 0.3


def test_the_script_and_the_document_read_the_same_counts() -> None:
    heatmap = random_heatmap()
    root = ET.fromstring(heat_map(heatmap, CAPTION).encode())
    data = json.loads(root.findtext(f"{SVG}metadata") or "")
    counts = np.zeros_like(heatmap.counts)
    for row, sparse in enumerate(data["counts"]):
        for column, value in zip(sparse[::2], sparse[1::2], strict=True):
            counts[row, column] = value
    document = heatmap_document(heatmap)
    assert (counts == heatmap.counts).all() and document["counts"] == counts.tolist()
    assert document["total"] == data["total"] == 100_000
    assert data["edges_ns"][:-1] == document["rows"]


def test_axes_have_round_labels() -> None:
    root = ET.fromstring(draw(random_heatmap(), CAPTION).encode())
    labels = {text.text for text in root.iter(f"{SVG}text")}
    assert {"0 s", "1 s", "10 s", "1 µs", "100 µs", "1 ms", "10 ms"} <= labels


def test_a_full_map_stays_small() -> None:
    assert len(heat_map(random_heatmap(1_000_000), CAPTION).encode()) < 300_000


@pytest.mark.parametrize("duration_ns", [0, 1, 999, 10**9, 10**14])
def test_maps_of_any_length_and_with_nothing_in_them_are_pictures(duration_ns: int) -> None:
    nothing = np.empty(0, np.int64)
    ET.fromstring(heat_map(latency_heatmap("off-cpu", nothing, nothing, duration_ns), CAPTION).encode())
    one = latency_heatmap("off-cpu", np.array([0]), np.array([1]), duration_ns)
    ET.fromstring(heat_map(one, Caption("\x00<>&\"'", "\ufffe", ("\ud800",))).encode())
