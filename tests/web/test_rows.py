"""Rows, lines, buckets and regions open their own stacks: what is opened adds up to what was clicked."""

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from offwake.analyzer.heatmap import OFFSET_ROWS
from offwake.web.app import create_app
from offwake.web.library import Library
from tests.web.test_pages import recording

DEMO = Path(__file__).parents[2] / "examples" / "demo.offwake"
CELLS = re.compile(r'<tr><td><a href="([^"]+)">')


@pytest.fixture(scope="module")
def demo() -> FlaskClient:
    """Return a client of the recording that comes with offwake."""
    return create_app([DEMO]).test_client()


def base(client: FlaskClient) -> str:
    return recording(client, "demo.offwake")


def stacks(client: FlaskClient, address: str, **more: str) -> dict[str, Any]:
    """Return the JSON of the flame graph at a link of a page."""
    path, _, query = html.unescape(address).partition("?")
    answer = client.get(f"{path}.json?{query}" + "".join(f"&{name}={value}" for name, value in more.items()))
    found: dict[str, Any] = answer.get_json()
    return found


def rows(client: FlaskClient, table: str, query: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the first rows of a table, with the link of each."""
    path = f"{base(client)}table/{table}"
    links = CELLS.findall(client.get(path + query).text)
    assert len(links) > 3
    yield from zip(client.get(path + ".json" + query).get_json()[:40], links, strict=False)


def test_a_thread_opens_its_waits(demo: FlaskClient) -> None:
    for row, link in rows(demo, "threads"):
        found = stacks(demo, link, all="1")
        assert found["view"] == "off-wake" and found["total_ns"] == row["blocked_ns"]


def test_who_waited_for_whom_opens_its_chains(demo: FlaskClient) -> None:
    seen = 0
    for row, link in rows(demo, "waits-for"):
        found = stacks(demo, link)
        assert found["view"] == "chain" and found["total_ns"] >= 0
        seen += row["blocked_ns"] <= found["total_ns"]
    assert seen > 30


def test_a_request_opens_the_waits_that_it_ended(demo: FlaskClient) -> None:
    requests = [(row, link) for row, link in rows(demo, "block-io") if row["device"]]
    ended = 0
    for row, link in requests:
        found = stacks(demo, link)
        ended += bool(found["stacks"])
        for stack in found["stacks"]:
            assert any(frame.startswith(f"[{row['device']} {row['operation']}") for frame in stack["frames"])
    assert ended > len(requests) // 2


def test_a_session_opens_what_its_process_waited_for_then(demo: FlaskClient) -> None:
    for row, link in rows(demo, "tcp-sessions"):
        assert (row["pid"] is None) == ("pid=" not in link) and (row["start_ns"] is None) == ("from=" not in link)
        assert stacks(demo, link)["view"] == "off-wake"


@pytest.mark.parametrize("table", ["block-io", "tcp-sessions"])
def test_bounds_of_how_long_rows_took_are_none_of_their_waits(demo: FlaskClient, table: str) -> None:
    for _, link in rows(demo, table, "?min_us=1&max_us=9000000&state=S&comm=*"):
        assert "comm=*" in link and not re.search("min_us|max_us|state=", link)


def test_a_moment_opens_its_waits(demo: FlaskClient) -> None:
    for row, link in rows(demo, "overview"):
        assert stacks(demo, link)["total_ns"] == row["blocked_ns"]


def test_a_bucket_of_a_histogram_opens_what_it_counts(demo: FlaskClient) -> None:
    for name in ("blocked", "on-cpu"):
        page = demo.get(f"{base(demo)}histogram/{name}").text
        found = re.findall(r'<a href="([^"]+)" title="their stacks">([\d,]+)</a>', page)
        assert len(found) > 3
        for link, number in found if name == "blocked" else ():
            assert sum(stack["count"] for stack in stacks(demo, link)["stacks"]) == int(number.replace(",", ""))


@pytest.mark.parametrize("each", ["comm", "thread", "process", "cgroup", "state", "cpu"])
def test_a_bucket_of_one_histogram_of_many_opens_what_it_counts(demo: FlaskClient, each: str) -> None:
    page = demo.get(f"{base(demo)}histogram/blocked?each={each}").text
    found = re.findall(r'<a href="([^"]+)" title="their stacks">([\d,]+)</a>', page)
    assert bool(found) == (each != "cpu")
    for link, number in found[::9]:
        assert sum(stack["count"] for stack in stacks(demo, link)["stacks"]) == int(number.replace(",", ""))


@pytest.mark.parametrize("region", ["", "from=0.2&to=0.6&min_us=100&max_us=20000&ended=1"])
def test_the_rows_of_a_heat_map_are_a_table_and_open_what_they_count(demo: FlaskClient, region: str) -> None:
    page = demo.get(f"{base(demo)}heatmap/blocked?{region}").text
    found = re.findall(r'<a href="([^"]+)" title="their stacks">([\d,]+)</a>', page)
    numbers = [int(number.replace(",", "")) for _, number in found]
    assert sum(numbers) == demo.get(f"{base(demo)}heatmap/blocked.json").get_json()["total"]
    for (link, _), number in list(zip(found, numbers, strict=True))[::5]:
        assert sum(stack["count"] for stack in stacks(demo, link)["stacks"]) == number


def test_offsets_open_nothing(demo: FlaskClient) -> None:
    page = demo.get(f"{base(demo)}heatmap/blocked?offset=1").text
    assert "their stacks" not in page and page.count('<svg class="share"') == OFFSET_ROWS


def test_the_lines_of_the_summary_open_their_stacks(demo: FlaskClient) -> None:
    page = demo.get(base(demo) + "words/summary").text
    assert "<code>offwake idle " in page
    links = re.findall(r'<a href="(/recording/[^"]+/flame/[^"]+)">(shop-[^<]+)</a>', page)
    assert len(links) > 5
    for link, words in links:
        found = stacks(demo, link)
        assert found["stacks"] and {stack["frames"][0] for stack in found["stacks"]} == {re.split("[:,]", words)[0]}


def test_what_is_idle_opens_its_stacks(demo: FlaskClient) -> None:
    page = demo.get(base(demo) + "words/idle").text
    links = re.findall(r'<a href="(/recording/[^"]+/flame/off-wake[^"]+)">', page)
    opened = [bool(stacks(demo, link)["stacks"]) for link in links]
    assert len(links) > 20 and opened.count(False) <= 1  # one thread has another name when its wait ends: it ran exec


def test_a_region_of_a_heat_map_opens_off_wake_with_all_of_it(demo: FlaskClient) -> None:
    region = "from=0.2&to=0.6&min_us=100&max_us=20000&ended=1"
    page = demo.get(f"{base(demo)}heatmap/blocked?{region}").text
    link = re.search('<a href="([^"]+)">open the stacks that waited here</a>', page)
    assert link and "/flame/off-wake?" in link[1]
    fields = ("from=0.2", "to=0.6", "min_us=100", "max_us=20000", "ended=1")
    assert all(field in html.unescape(link[1]) for field in fields)
    document = demo.get(f"{base(demo)}heatmap/blocked.json?from=0.2&to=0.6&min_us=100&max_us=20000").get_json()
    assert sum(stack["count"] for stack in stacks(demo, link[1])["stacks"]) == document["total"] > 0


def test_a_region_of_numbers_bounds_no_latencies_elsewhere(demo: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    of_time = Library.heatmap
    monkeypatch.setattr(Library, "heatmap", lambda *asked: replace(of_time(*asked), unit=""))
    page = demo.get(f"{base(demo)}heatmap/blocked?from=0.2&to=0.6&min_us=100&max_us=20000&ended=1&around_min_us=1").text
    tabs = re.findall(r'<a href="(/recording/[^"]+)" title=', page)
    assert len(tabs) > 20 and all("ended=1" in tab and "min_us" not in tab for tab in tabs)
    histogram = re.search(r'<a href="([^"]+)">histogram</a>', page)
    assert histogram and "min_us=100" in histogram[1] and "max_us=20000" in histogram[1]


def test_many_rows_are_shown_page_by_page(demo: FlaskClient) -> None:
    path = base(demo) + "table/block-io?sort=service_ns&down=1"
    first = demo.get(path).text
    following = re.search('<a href="([^"]+)">Next rows</a>', first)
    assert following and "Previous rows" not in first
    found = int((re.search(r"rows 1 to 500 of (\d+)", first) or [0, 0])[1])
    second = demo.get(html.unescape(following[1])).text
    assert f"rows 501 to {found} of {found}" in second and "Previous rows" in second and "Next rows" not in second
    assert len(CELLS.findall(first)) + len(CELLS.findall(second)) == found
    assert demo.get(path + "&first=x").status_code == 400 and "rows 1 to 500 of" in demo.get(path + "&first=99999").text
    assert len(CELLS.findall(demo.get(path + "&first=500&from=0.2&to=0.3").text)) > 0
