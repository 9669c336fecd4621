"""Heat maps: geometry, colours, counts and hostile captions."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from offwake.analyzer.completeness import remarks
from offwake.analyzer.heatmap import Heatmap, latency_map, offset_map
from offwake.analyzer.latencies import LARGEST, Latencies
from offwake.analyzer.render.colours import heat_colour
from offwake.analyzer.render.documents import heatmap_document
from offwake.analyzer.render.heatmap import draw, heat_map, title
from offwake.analyzer.render.svg import Caption

SVG = "{http://www.w3.org/2000/svg}"
CAPTION = Caption("off-cpu latency", "web01")
RUN = re.compile(r"M(\d+) (\d+)h(\d+)(?=M|$)")


def random_latencies(points: int = 100_000) -> Latencies:
    chosen = np.random.default_rng(3)
    when = chosen.integers(0, 10_000_000_000, points)
    latency = (10 ** chosen.normal(5, 1, points)).astype(np.int64)
    return Latencies("off-cpu", 0, 10_000_000_000, when, latency)


def random_heatmap(points: int = 100_000) -> Heatmap:
    return latency_map(random_latencies(points))


def cells(svg: str) -> dict[tuple[int, int], tuple[str, float]]:
    """Return colour and opacity by (row from the top, column)."""
    found = {}
    for path in ET.fromstring(svg.encode()).iter(f"{SVG}path"):
        for column, row, length in RUN.findall(path.get("d", "")):
            for offset in range(int(length)):
                found[int(row), int(column) + offset] = path.get("stroke", ""), float(path.get("stroke-opacity", ""))
    return found


@pytest.mark.parametrize("heatmap", [random_heatmap(), offset_map(random_latencies(3000))])
def test_every_cell_with_a_count_is_drawn_once_and_no_other(heatmap: Heatmap) -> None:
    rows = len(heatmap.rows)
    drawn = {(rows - 1 - row, column) for row, column in cells(draw(heatmap, CAPTION))}
    assert drawn == {(int(row), int(column)) for row, column in np.argwhere(heatmap.counts)}


def test_colours_run_on_a_square_root_scale_from_white_over_orange_to_red() -> None:
    assert heat_colour(0) == ("#ff5032", 0)
    assert heat_colour(0.5) == ("#ff5032", 1)
    assert heat_colour(1) == ("#e50914", 1)
    counts = np.array([[1, 25, 100]])
    heatmap = Heatmap("x", "latency", np.array([0, 1, 2]), 1, np.array([10]), 13, counts)
    drawn = cells(draw(heatmap, CAPTION))
    assert drawn[0, 2] == ("#e50914", 1)
    assert drawn[0, 1] == ("#ff5032", 1)  # a quarter of the most is half of the scale
    assert drawn[0, 0][0] == "#ff5032" and 0 < drawn[0, 0][1] < 0.3


@pytest.mark.parametrize("heatmap", [random_heatmap(), offset_map(random_latencies())])
def test_the_script_and_the_document_read_the_same_counts(heatmap: Heatmap) -> None:
    root = ET.fromstring(heat_map(heatmap, CAPTION).encode())
    data = json.loads(root.findtext(f"{SVG}metadata") or "")
    counts = np.zeros_like(heatmap.counts)
    for row, sparse in enumerate(data["counts"]):
        for column, value in zip(sparse[::2], sparse[1::2], strict=True):
            counts[row, column] = value
    document = heatmap_document(heatmap)
    assert (counts == heatmap.counts).all() and document["counts"] == counts.tolist()
    assert document["total"] == data["total"] == 100_000
    assert data["edges_ns"] == [*document["rows"], heatmap.top_ns]
    assert data["rows_of"] == document["rows_of"] == heatmap.rows_of


def labels_of(heatmap: Heatmap) -> set[str | None]:
    return {text.text for text in ET.fromstring(draw(heatmap, CAPTION).encode()).iter(f"{SVG}text")}


def test_beside_it_is_the_histogram_of_all_that_it_shows() -> None:
    shown = random_heatmap(5_000)
    bars = ET.fromstring(heat_map(shown, CAPTION).encode()).findall(".//{*}g[@class='sums']/{*}rect")
    sums = shown.counts.sum(axis=1)
    titles = [bar.findtext("{*}title") or "" for bar in bars]
    said = [int(number.replace(",", "")) for words in titles for number in re.findall(r": ([\d,]+) \(", words)]
    assert said == sums[sums > 0].tolist()
    widths = np.array([float(bar.get("width", 0)) for bar in bars])
    assert np.all(np.abs(widths - 120 * sums[sums > 0] / sums.max()) <= 0.5)
    places = [float(bar.get("y", 0)) for bar in bars]
    assert places == sorted(places, reverse=True), "the shortest latencies are at the bottom, as in the map"


def test_axes_have_round_labels() -> None:
    assert {"0 s", "1 s", "10 s", "1 µs", "100 µs", "1 ms", "10 ms"} <= labels_of(random_heatmap())
    assert {"0 s", "1 s", "10 s", "100 ms", "500 ms"} <= labels_of(offset_map(random_latencies()))
    assert {"0 s", "5 ms", "50 ms"} <= labels_of(offset_map(random_latencies(), 50_000_000))


def test_what_took_no_time_is_labelled_so() -> None:
    none_and_some = Latencies("blocked", 0, 1_000, np.array([5, 6]), np.array([0, 100_000]))
    assert {"0 s", "100 µs"} <= labels_of(latency_map(none_and_some))


def test_a_map_says_what_it_does_not_show() -> None:
    whole = random_heatmap(10)
    assert list(remarks(whole)) == ["10 in all"]
    part = list(remarks(replace(whole, hidden_ns=3_000_000_000, open=2)))
    assert part[1].startswith("3.00 s hidden") and part[2].startswith("2 open")
    assert (title(whole), title(offset_map(random_latencies(10)))) == (
        "off-cpu latency",
        "off-cpu by the offset within each second",
    )


def test_a_full_map_stays_small() -> None:
    assert len(heat_map(random_heatmap(1_000_000), CAPTION).encode()) < 200_000
    ten_minutes = replace(random_latencies(1_000_000), end_ns=600_000_000_000)
    ten_minutes = replace(ten_minutes, ended_ns=np.random.default_rng(4).integers(0, ten_minutes.end_ns, 1_000_000))
    assert len(heat_map(offset_map(ten_minutes), CAPTION).encode()) < 500_000


@pytest.mark.parametrize("duration_ns", [0, 1, 999, 10**9, 10**14])
def test_maps_of_any_length_and_with_nothing_in_them_are_pictures(duration_ns: int) -> None:
    nothing = np.empty(0, np.int64)
    for when, latency in ((nothing, nothing), (np.array([0]), np.array([0])), (np.array([0]), np.array([1]))):
        found = Latencies("off-cpu", 0, duration_ns, when, latency)
        maps = [latency_map(found), offset_map(found, max(50, duration_ns // 100))]
        for shown in maps:
            ET.fromstring(heat_map(shown, Caption("\x00<>&\"'", "\ufffe", ("\ud800",))).encode())


@pytest.mark.parametrize("largest", [10**18 - 1, 10**18, 4 * 10**18, LARGEST])
def test_numbers_as_large_as_pointers_have_rows(largest: int) -> None:
    values = np.array([0, 7, largest])
    shown = latency_map(Latencies("events:pointer", 0, 1000, np.array([1, 2, 3]), values, unit=""))
    edges = [*shown.rows.tolist(), shown.top_ns]
    assert edges == sorted(edges) and shown.total == 3
    for row, (low, end) in enumerate(pairwise(edges)):
        assert shown.counts[row].sum() == ((low <= values) & (values < end)).sum()
    ET.fromstring(draw(shown, CAPTION).encode())
    assert {"0", "10", "1,000,000"} <= labels_of(shown)


def test_calls_as_long_as_can_be_counted_have_a_row() -> None:
    powers = 1 << np.array([0, 3, 61])
    found = Latencies("functions", 0, 1000, np.array([1, 2, 3]), powers, count=np.array([5, 6, 7]))
    shown = latency_map(found)
    assert (shown.rows[0], shown.rows[-1], shown.top_ns) == (1, 1 << 61, 1 << 62)
    assert shown.counts.sum(axis=1)[[0, 3, 61]].tolist() == [5, 6, 7] and shown.total == 18
