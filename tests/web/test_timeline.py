"""The timeline in Chromium: what it tells, and how a time is chosen on it that everything below follows."""

import re
import xml.etree.ElementTree as ET
from urllib.parse import parse_qsl

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import FloatRect, Page, Route, expect

from tests.web.conftest import Server
from tests.web.test_pages import EVERY, recording

TIMES = re.compile(r"\?from=[\d.e-]+&to=[\d.e-]+$")


def opened(page: Page, server: Server, path: str = "flame/off-wake") -> FloatRect:
    """Open a page of the whole recording; return where its timeline is."""
    page.goto(server.url)
    page.get_by_role("link", name="whole.offwake").click()
    page.goto(page.url.replace("flame/off-wake", path))
    box = page.locator(".timeline .span").bounding_box()
    assert box
    return box


def asked(address: str) -> set[tuple[str, str]]:
    """Return what an address asks for."""
    return set(parse_qsl(address.partition("?")[2]))


def shown_ns(page: Page) -> int:
    """Return the time that the flame graph's root stands for, in the JSON of the same selection."""
    query = page.url.partition("?")[2]
    answer = page.request.get(page.url.partition("?")[0] + ".json?" + query)
    total: int = answer.json()["total_ns"]
    return total


def test_every_page_of_a_recording_has_the_timeline(client: FlaskClient) -> None:
    base = recording(client)
    for kind, name in EVERY:
        assert 'class="picture timeline"' in client.get(f"{base}{kind}/{name}").text
    answer = client.get(base + "overview.svg")
    assert ET.fromstring(answer.data).tag.endswith("svg") and "attachment" in answer.headers["Content-Disposition"]


def test_the_pointer_tells_what_was_and_a_drag_chooses_a_time(page: Page, server: Server) -> None:
    box = opened(page, server)
    whole = shown_ns(page)
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 5)
    expect(page.locator(".timeline .now")).to_have_text(
        re.compile(r"^[\d.]+ [mµn]s – [\d.]+ [mµ]s: [\d.,]+ events/s, [\d.,]+ % on the CPU, .* blocked$")
    )
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 5, steps=3)
    page.mouse.up()
    page.wait_for_url(TIMES)
    expect(page.locator(".timeline .chosen")).to_have_text(re.compile(r"^selected: [\d.]+ µs – [\d.]+ µs$"))
    assert 0.1 * whole < shown_ns(page) < 0.4 * whole
    assert page.locator("input[name=from]").input_value() in page.url
    page.locator("nav").get_by_role("link", name="threads", exact=True).click()
    page.wait_for_url(re.compile("table/threads" + TIMES.pattern))
    page.get_by_role("link", name="Show all time").click()
    page.wait_for_url(re.compile(r"table/threads\?$"))
    expect(page.locator(".timeline .chosen")).to_have_text("")


def test_two_clicks_choose_and_escape_gives_up(page: Page, server: Server) -> None:
    box = opened(page, server)
    page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 5)
    page.keyboard.press("Escape")
    expect(page.locator(".timeline .time")).to_have_attribute("display", "none")
    page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 5)
    page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 5)
    page.wait_for_url(TIMES)
    expect(page.locator(".timeline .chosen")).to_have_text(re.compile("^selected"))
    page.go_back()
    expect(page.locator(".timeline .chosen")).to_have_text("")


def test_the_keyboard_chooses_a_time_and_a_reader_is_told_which(page: Page, server: Server) -> None:
    opened(page, server)
    slider = page.get_by_role("slider", name=re.compile("^Timeline"))
    slider.focus()
    for key in ("ArrowRight", "ArrowRight", "Shift+PageUp"):
        page.keyboard.press(key)
    assert slider.get_attribute("aria-valuenow") == "12"
    expect(slider).to_have_attribute("aria-valuetext", re.compile("events/s"))
    page.keyboard.press("Enter")
    expect(page.locator(".timeline .chosen")).to_have_text(re.compile("^selected: "))
    expect(slider).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuenow", "11")  # from where it was
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile(r"off-wake\?$"))


def test_a_form_that_is_sent_while_a_chosen_time_is_on_its_way_keeps_both(page: Page, server: Server) -> None:
    opened(page, server, "flame/off-wake?icicle=1&by=thread")
    answers: list[Route] = []
    page.route("**/flame/**from=*", lambda route: answers.append(route), times=1)
    page.get_by_role("slider").focus()
    for key in ("ArrowRight", "Shift+End"):
        page.keyboard.press(key)
    with page.expect_request("**/flame/**from=*"):
        page.keyboard.press("Enter")
    page.locator("input[name=comm]").fill("nginx")
    page.locator("input[name=comm]").press("Enter")
    page.get_by_label("idle waits and sleepers").check()
    answers[0].continue_()
    page.wait_for_url(re.compile("comm="))
    expect(page.locator("input[name=comm]")).to_have_value("nginx")
    expect(page.get_by_label("idle waits and sleepers")).to_be_checked()
    assert {name for name, _ in asked(page.url)} == {"icicle", "by", "from", "to", "comm", "all"}


def test_escape_gives_up_one_thing_and_nothing_from_a_filter(page: Page, server: Server) -> None:
    opened(page, server, "flame/off-wake?from=0.00005&to=0.00015&search=postgres")
    page.locator("input[name=comm]").press("Escape")
    page.get_by_role("slider").press("Escape")
    page.wait_for_url(lambda url: "from" not in url)
    assert asked(page.url) == {("search", "postgres")}
    page.locator("input[name=search]").press("Escape")
    page.wait_for_url(lambda url: "search" not in url)
    opened(page, server, "heatmap/off-cpu?from=0.00005&to=0.00015&ended=1")
    page.locator("input[name=comm]").press("Escape")
    page.get_by_role("slider").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Escape")
    assert "ended=1" in page.url
    page.locator("body").press("Escape")
    page.wait_for_url(lambda url: "ended" not in url)


@pytest.mark.parametrize("more", ["", "&min_us=0.2&max_us=2"])
@pytest.mark.parametrize("by_offset", [False, True])
def test_a_heat_map_follows_and_a_region_leaves_it_as_it_is(page: Page, server: Server, by_offset: bool, more: str) -> None:
    narrow = "heatmap/off-cpu?from=0.00005&to=0.00015" + more + "&offset=1" * by_offset
    timeline = opened(page, server, narrow)
    words = page.locator("svg.heat desc").text_content()
    page.locator(".region-stacks").scroll_into_view_if_needed()
    box = page.locator(".plot").bounding_box()
    assert box
    for share in (0.2, 0.7):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + (1 - share) * box["height"])
    page.wait_for_url(re.compile("ended=1"))
    expect(page.locator(".selected")).to_have_text(re.compile("^selected"))
    assert page.locator("svg.heat desc").text_content() == words
    region = page.url
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "ended" not in url)
    assert asked(page.url) == asked(narrow)
    page.goto(region)
    page.get_by_role("link", name="Show all time").click()
    page.wait_for_url(lambda url: "from" not in url)
    assert asked(page.url) == asked(narrow) - {("from", "0.00005"), ("to", "0.00015")}
    page.goto(region)
    for share in (0.2, 0.7):
        page.mouse.click(timeline["x"] + share * timeline["width"], timeline["y"] + 5)
    page.wait_for_url(lambda url: "ended" not in url)
    left = {(name, value) for name, value in asked(page.url) if name not in ("from", "to")}
    assert left == asked(narrow) - {("from", "0.00005"), ("to", "0.00015")}
