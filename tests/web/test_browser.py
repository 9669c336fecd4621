"""The viewer in Chromium: heat maps, tables, forms, themes."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from offwake.analyzer.heatmap import offset_map
from offwake.analyzer.render.heatmap import heat_map
from offwake.analyzer.render.svg import Caption
from tests.render.test_heatmap import random_heatmap, random_latencies
from tests.web.conftest import Server, serving
from tests.web.flames import at_rest, open_off_wake

DEMO = Path(__file__).parents[2] / "examples" / "demo.offwake"


def test_a_heat_map_tells_its_cells_and_selects_a_region(page: Page, tmp_path: Path) -> None:
    svg = tmp_path / "off-cpu.svg"
    svg.write_text(heat_map(random_heatmap(), Caption("off-CPU latency", "web01 · 10.0 s")))
    page.goto(svg.as_uri())
    box = page.locator(".plot").bounding_box()
    assert box
    left, top = box["x"], box["y"]
    page.mouse.move(left + 100, top + box["height"] / 2)
    expect(page.locator(".details")).to_have_text(
        re.compile(r"^\S+ m?s – \S+ m?s, \S+ µs – \S+ µs: [\d,]+ \(\d\.\d\d %\)$")
    )
    page.mouse.click(left + 200, top + 4)
    page.keyboard.press("Escape")
    expect(page.locator(".region")).to_have_attribute("display", "none")
    page.mouse.click(left + 1, top + 1)
    page.mouse.click(left + box["width"] - 1, top + box["height"] - 1)
    expect(page.locator(".selected")).to_have_text(re.compile(r"^selected: 0 s – 10 s, .*: 100,000 \(100\.00 %\)$"))
    page.mouse.move(left + 200, top + 50)
    page.mouse.down()
    page.mouse.move(left + 400, top + 150, steps=3)
    page.mouse.up()
    page.wait_for_url(re.compile(r"#from=[\d.]+&to=[\d.]+&min_us=[\d.]+&max_us=[\d.]+&ended=1$"))
    expect(page.locator(".selected")).not_to_have_text(re.compile(r"100\.00 %"))  # the page follows its address
    selected = page.locator(".selected").text_content()
    page.reload()
    expect(page.locator(".selected")).to_have_text(selected or "")
    page.go_back()
    expect(page.locator(".selected")).to_have_text(re.compile(r"100\.00 %"))
    page.keyboard.press("Escape")
    expect(page.locator(".region")).to_have_attribute("display", "none")


def test_an_offset_map_selects_from_its_first_cell_to_its_last(page: Page, tmp_path: Path) -> None:
    svg = tmp_path / "offsets.svg"
    svg.write_text(heat_map(offset_map(random_latencies()), Caption("off-CPU", "web01 · 10.0 s")))
    page.goto(svg.as_uri())
    box = page.locator(".plot").bounding_box()
    assert box
    column, row = box["width"] / 10, box["height"] / 50
    left, bottom = box["x"], box["y"] + box["height"]
    page.mouse.move(left + 3.5 * column, bottom - 45.5 * row)
    expect(page.locator(".details")).to_have_text(re.compile(r"^3\.9 s – 3\.92 s: \d+ \(\d\.\d\d %\)$"))
    page.mouse.click(left + 3.5 * column, bottom - 45.5 * row)
    page.mouse.click(left + 6.5 * column, bottom - 9.5 * row)
    page.wait_for_url(re.compile(r"#from=3\.9&to=6\.2&ended=1$"))
    expect(page.locator(".selected")).to_have_text(
        re.compile(r"^selected: 3\.9 s – 6\.2 s: [\d,]+ \((22|23)\.\d\d %\)$")
    )
    outline = page.locator(".region").get_attribute("d") or ""
    assert outline.count("M") == 3  # the end of a column, two whole ones, the beginning of one
    selected = page.locator(".selected").text_content()
    page.reload()
    expect(page.locator(".selected")).to_have_text(selected or "")
    page.keyboard.press("Escape")
    expect(page.locator(".region")).to_have_attribute("display", "none")


@pytest.mark.parametrize("by_offset", [False, True])
def test_a_region_of_a_heat_map_selects_just_those_waits(page: Page, server: Server, by_offset: bool) -> None:
    page.goto(server.url)
    page.get_by_role("link", name="whole.offwake").click()
    page.locator("nav div", has_text="Latencies").get_by_role("link", name="off-cpu", exact=True).click()
    page.wait_for_load_state()
    if by_offset:
        page.get_by_label("by the offset").check()
        page.get_by_role("button", name="Apply").click()
        expect(page.locator("svg.heat desc")).to_have_text(re.compile("the offset within it runs up"))
        at_rest(page)
    page.locator(".region-stacks").scroll_into_view_if_needed()
    box = page.locator(".plot").bounding_box()
    assert box
    for share in (0.01, 0.3) if by_offset else (0.3, 0.7):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + (1 - share) * box["height"])
    page.wait_for_url(re.compile("ended=1"))
    expect(page.locator(".selected")).to_have_text(re.compile("^selected"))
    selected = re.search(r": ([\d,]+) \(", page.locator(".selected").text_content() or "")
    assert selected and selected[1] != "0"
    page.locator("nav div", has_text="Stacks").get_by_role("link", name="off-cpu", exact=True).click()
    page.wait_for_url(re.compile("flame/off-cpu"))
    with page.expect_download() as download:
        page.get_by_role("link", name="Download json").click()
    stacks = json.loads(Path(download.value.path()).read_text())["stacks"]
    assert sum(stack["count"] for stack in stacks) == int(selected[1].replace(",", ""))


def test_a_heat_map_without_latencies_says_so(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.get_by_role("link", name="whole.offwake").click()
    page.get_by_text("more that this recording has nothing for").click()
    page.locator("nav details div", has_text="Latencies").get_by_role("link", name="block-io", exact=True).click()
    expect(page.locator("svg.heat")).to_contain_text("nothing to show")
    page.wait_for_load_state()
    page.locator(".plot").hover()
    page.locator(".plot").click()
    expect(page.locator(".details")).to_have_text("")


def test_a_table_is_sorted_by_a_click(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.get_by_role("link", name="whole.offwake").click()
    page.get_by_role("link", name="threads", exact=True).click()
    page.get_by_role("link", name="switches").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text(re.compile("switches"))


def test_without_scripts_links_and_forms_still_work(page: Page, server: Server) -> None:
    browser = page.context.browser
    assert browser
    plain = browser.new_context(java_script_enabled=False)
    window = plain.new_page()
    window.goto(server.url)
    window.get_by_role("link", name="whole.offwake").click()
    window.locator("input[name=search]").fill("postgres")
    window.get_by_role("button", name="Apply").click()
    expect(window.locator(".matched")).to_have_text(re.compile("^Matched: "))
    plain.close()


def test_filters_in_the_form_make_a_page_and_the_command_that_gives_the_same(page: Page, tmp_path: Path) -> None:
    copy = tmp_path / "demo.offwake"
    copy.write_bytes(DEMO.read_bytes())
    with serving(str(copy), page=page) as own:
        page.goto(own.url)
        page.get_by_role("link", name="demo.offwake").click()
        page.get_by_role("link", name="chain", exact=True).click()
        page.get_by_text("More filters").click()
        texts = {"comm": "shop-*", "from": "0.2", "to": "0.9", "grep": "fsync|recv", "state": "S,D"}
        for name, text in {**texts, "min_us": "50", "max_us": "40000.5"}.items():
            page.locator(f"[name={name}]").fill(text)
        for name, value in {"by": "thread", "chain": "path"}.items():
            page.locator(f"[name={name}]").select_option(value)
        page.get_by_label("idle waits and sleepers").check()
        page.get_by_role("button", name="Apply").click()
        expect(page.locator("footer code")).to_contain_text("--all")  # the page follows its address
        command = page.locator("footer code").text_content() or ""
        with page.expect_download() as download:
            page.get_by_role("link", name="Download folded").click()
        downloaded = download.value.path().read_text()
    words = shlex.split(command)
    assert words[:2] == ["offwake", "flamegraph"] and words[-1] == "--all"
    output = words.index("-o")
    asked = [sys.executable, "-m", "offwake", "folded", *words[2:output], *words[output + 2 :]]
    done = subprocess.run(asked, cwd=tmp_path, env={"PYTHONPATH": str(DEMO.parents[1])}, capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.splitlines()) > 3
    assert done.stdout == downloaded


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_have_contrast_in_both_themes(page: Page, server: Server, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    open_off_wake(page, server)
    ratios = page.evaluate(
        """() => {
          const light = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(c => c / 255)
            .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
          const paper = light(getComputedStyle(document.body).backgroundColor);
          const words = 'p, a:not([aria-current]), label, td, th, h2, svg .ink, svg .faint';
          return [...document.querySelectorAll(words)].map(one => {
            const style = getComputedStyle(one), ink = light(one.closest('svg') ? style.fill : style.color);
            return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
          });
        }"""
    )
    assert len(ratios) > 20 and min(ratios) >= 4.5
