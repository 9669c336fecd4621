"""axe-core finds nothing serious or critical on any page, light or dark; keys reach everything, and show where they are."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Frame, Page, expect

from offwake.analyzer import query
from offwake.cli import main
from tests.web.conftest import Server

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
FOCUS = "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"
SERIOUS = ("serious", "critical")
PAGES = [
    *("words/summary", "words/idle", "flame/off-wake?search=nginx", "flame/chain?zoom=1&search=(&from=0.00002&pid=1"),
    *("heatmap/off-cpu?from=0&to=0.0001&ended=1", "heatmap/block-io?offset=1", "histogram/off-cpu?each=state"),
    *("table/threads?sort=tid&down=1&comm=n*", "table/waits-for?first=0", "table/overview", "table/tcp-sessions"),
]
"""A page of every kind, with and without anything to show."""


def violations(page: Page | Frame) -> list[str]:
    """Return what axe-core calls serious or critical, with the places."""
    page.evaluate(AXE)
    options = "{resultTypes: ['violations'], iframes: false}"  # each frame is looked at by itself
    found: dict[str, Any] = page.evaluate(f"axe.run(document, {options})")
    return [
        f"{one['id']}: {node['html'][:150]} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"][:3]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(page: Page, server: Server, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(server.url)
    found = {"the list": violations(page)}
    bases = [page.get_by_role("link", name=name).get_attribute("href") for name in ("whole.offwake", "cut.offwake.part")]
    paths = [f"{bases[0]}{path}" for path in PAGES] + [f"{bases[1]}flame/off-wake"]
    for path in paths:
        page.goto(server.url.rstrip("/") + path)
        expect(page.locator("svg.timeline [role=slider]")).to_be_visible()
        found[path] = violations(page)
    assert {path: complaints for path, complaints in found.items() if complaints} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_report(page: Page, folder: Path, tmp_path: Path, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    assert main(["report", str(folder / "whole.offwake"), "-o", str(tmp_path / "report.html")]) == 0
    page.goto((tmp_path / "report.html").as_uri())
    assert violations(page) == []
    for frame in page.frames[1:]:
        assert violations(frame) == []


def test_what_has_the_focus_is_seen_and_the_first_key_skips_to_the_picture(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.get_by_role("link", name="whole.offwake").click()
    expect(page.locator("svg.flame .button").first).to_be_visible()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    seen = set()
    while (focus := page.evaluate(FOCUS))[0] != "BODY":
        assert focus[1] != "none", focus
        seen.add(focus[0])
        page.keyboard.press("Shift+Tab")
    assert {"A", "INPUT", "SELECT", "BUTTON", "SUMMARY", "rect"} <= seen


def test_landmarks_name_the_parts_of_a_page(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.get_by_role("link", name="whole.offwake").click()
    for role, count in (("main", 1), ("navigation", 1), ("form", 1), ("contentinfo", 1), ("banner", 1)):
        expect(page.get_by_role(role)).to_have_count(count)  # type: ignore[arg-type]
    page.get_by_role("link", name="threads", exact=True).click()
    page.wait_for_url("**/table/threads*")
    expect(page.get_by_role("table")).to_have_accessible_name(query.TABLES["threads"])
    assert page.locator("th:not([scope])").count() == 0


def test_on_paper_there_are_pictures_and_tables_without_controls(page: Page, server: Server) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    page.goto(server.url)
    expect(page.locator("input[type=radio]").first).to_be_hidden()
    page.get_by_role("link", name="whole.offwake").click()
    expect(page.locator("svg.flame .button").first).to_be_attached()
    for hidden in ("nav", ".filters", "footer", ".hint", "svg.flame .button"):
        expect(page.locator(hidden).first).to_be_hidden()
    expect(page.locator("svg.flame")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
