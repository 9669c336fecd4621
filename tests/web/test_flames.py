"""Flame graphs in Chromium, on a page and as a file: every key, every click, and what the address says of it."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.web.conftest import Server
from tests.web.flames import MAGENTA, focus_picture, hover_first, labelled, open_off_wake


def test_zoom_search_permalink_back_and_forward(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    labelled(page, "nginx")
    page.wait_for_url(re.compile(r"\?zoom=\d+$"))
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(1)
    page.keyboard.press("Control+f")
    page.keyboard.type("postgres")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("search=postgres"))
    expect(page.locator(".matched")).to_have_text(re.compile(r"^Matched: \d+\.\d % \(\d+\.\d % of all\)$"))
    expect(page.locator(MAGENTA).first).to_be_attached()
    shown, url = page.locator(".labels text, .matched").all_text_contents(), page.url

    page.goto(url)
    expect(page.locator("svg.flame .button").first).to_be_visible()
    assert page.locator(".labels text, .matched").all_text_contents() == shown

    page.keyboard.press("Escape")
    page.wait_for_url(re.compile(r"\?zoom=\d+$"))
    expect(page.locator(MAGENTA)).to_have_count(0)
    page.go_back()
    expect(page.locator(".matched")).to_have_text(re.compile("^Matched"))
    page.go_forward()
    expect(page.locator(".matched")).to_have_text("")
    page.get_by_text("Reset zoom").click()
    page.wait_for_url(re.compile(r"off-wake\?$"))
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(0)


def test_what_was_typed_while_a_zoom_is_on_its_way_stays_and_so_does_the_focus(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    answers: list[Route] = []
    page.route("**/flame/**zoom=*", lambda route: answers.append(route), times=2)
    page.get_by_text("More filters").click()
    with page.expect_request("**/flame/**zoom=*"):
        labelled(page, "nginx")
    page.keyboard.press("Control+f")
    page.keyboard.type("post")
    page.keyboard.press("Enter")
    page.keyboard.press("End")
    page.keyboard.type("gres")
    picture = page.locator("svg.flame").element_handle()
    with page.expect_request("**/flame/**search=postgres*"):
        answers[0].continue_()
    page.wait_for_function("picture => !picture.isConnected", arg=picture)
    assert page.locator("input[name=search]").input_value() == "postgres"
    expect(page.get_by_label("Cgroup", exact=True)).to_be_visible()
    answers[1].continue_()
    page.wait_for_url(re.compile("zoom=.*search=postgres|search=postgres.*zoom="))
    expect(page.locator(".matched")).to_have_text(re.compile("^Matched"))
    page.go_back()
    expect(page.locator("input[name=search]")).to_have_value("")
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(1)


def test_a_zoom_shows_at_once_what_is_drawn_and_then_the_servers_picture(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    width = page.locator(".frames rect").first.get_attribute("width")
    answers: list[Route] = []
    page.route("**/flame/**zoom=*", lambda route: answers.append(route), times=1)
    picture = page.locator("svg.flame").element_handle()
    with page.expect_request("**/flame/**zoom=*"):
        labelled(page, "nginx")
    zoomed = page.locator(f".frames rect[width='{width}']:not([opacity])")
    expect(zoomed).not_to_have_count(0)
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(1)
    drawn = page.locator(".frames rect:not([display])").count()
    answers[0].continue_()
    page.wait_for_function("picture => !picture.isConnected", arg=picture)
    assert page.locator(".frames rect").count() >= drawn
    expect(zoomed).not_to_have_count(0)


@pytest.mark.parametrize("how", ["reset", "to an ancestor", "back"])
def test_zooming_out_shows_at_once_what_was_drawn_and_then_the_servers_picture(page: Page, server: Server, how: str) -> None:
    open_off_wake(page, server)
    all_drawn = page.locator(".frames rect:not([display])").count()
    labelled(page, "nginx")
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(1)
    labelled(page, "main")
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(2)
    expect(page.locator("h2", has_text="under main")).to_be_visible()  # the server has answered
    answers: list[Route] = []
    page.route("**/flame/**", lambda route: answers.append(route), times=1)
    main = page.locator("main").element_handle()
    with page.expect_request("**/flame/**"):
        if how == "reset":
            page.get_by_text("Reset zoom").click()
        elif how == "back":
            page.go_back()
        else:
            labelled(page, "nginx")
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(0 if how == "reset" else 1)
    expect(page.locator(".frames rect:focus")).to_have_count(0)
    drawn = page.locator(".frames rect:not([display])").count()
    assert drawn == all_drawn if how == "reset" else drawn > 2
    assert page.evaluate("main => main.isConnected", main)
    page.evaluate("document.querySelector('svg.flame').focus()")
    answers[0].continue_()
    page.wait_for_function("main => !main.isConnected", arg=main)
    expect(page.locator("svg.flame")).to_be_focused()
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(0 if how == "reset" else 1)
    assert page.locator(".frames rect:not([display])").count() == drawn


def test_a_zoom_by_the_keyboard_goes_on_by_the_keyboard_in_the_servers_picture(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    picture = page.locator("svg.flame").element_handle()
    focus_picture(page)
    for key in ("ArrowDown", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function("picture => !picture.isConnected", arg=picture)
    expect(page.locator("svg.flame")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".frames rect:focus")).to_have_attribute("aria-label", re.compile("100.00 % of zoomed"))
    drawn = page.locator(".frames rect, .labels text").evaluate_all("all => all.map(one => one.outerHTML)")
    page.reload()
    focus_picture(page)
    page.keyboard.press("ArrowDown")
    expect(page.locator(".frames rect:focus")).to_be_attached()
    assert page.locator(".frames rect, .labels text").evaluate_all("all => all.map(one => one.outerHTML)") == drawn
    page.go_back()
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(0)


def test_the_hover_line_and_the_keys(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    hover_first(page, "nginx")
    expect(page.locator(".details")).to_have_text(re.compile(r"^nginx \(\d[\d.,]* [mµn]?s, \d+\.\d\d %\)$"))
    page.keyboard.press("?")
    expect(page.locator(".help")).to_contain_text("Ctrl-F")
    page.keyboard.press("Escape")
    expect(page.locator(".help")).to_have_count(0)
    focus_picture(page)
    page.keyboard.press("ArrowDown")
    expect(page.locator(".details")).to_have_text(re.compile(r"^all \(.*100\.00 %\)$"))
    page.keyboard.press("ArrowUp")
    expect(page.locator(".frames rect:focus")).to_have_attribute("aria-label", re.compile(r"\(.* %\)$"))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"\?zoom="))
    root = page.locator(".frames rect").first
    bottom = float(root.get_attribute("y") or "")
    page.keyboard.press("i")
    page.wait_for_url(re.compile("icicle=1"))
    expect(page.locator(".frames rect").first).to_have_attribute("y", "0")
    assert bottom > 0


def test_space_is_as_good_as_enter(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    page.get_by_role("button", name="Flip").press("Space")
    page.wait_for_url(re.compile("icicle=1"))
    expect(page.locator(".frames rect").first).to_have_attribute("y", "0")
    focus_picture(page)
    for key in ("ArrowUp", "ArrowDown", "Space"):
        page.keyboard.press(key)
    page.wait_for_url(re.compile("zoom="))
    focus_picture(page)
    for key in ("ArrowUp", "m", "ArrowDown", "Space"):
        page.keyboard.press(key)
    page.wait_for_url(re.compile("grep=|hide="))


def test_matches_are_walked_and_case_is_ignored_on_request(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    page.locator("input[name=search]").fill("POSTGRES")
    page.keyboard.press("Enter")
    expect(page.locator(".matched")).to_have_text("Matched: 0.0 %")
    page.keyboard.press("Control+i")
    expect(page.locator(".matched")).not_to_have_text("Matched: 0.0 %")
    page.keyboard.press("Escape")
    page.goto(page.url.split("?")[0] + "?search=schedule|futex|syscall")
    page.keyboard.press("n")
    expect(page.locator(".frames rect:focus")).to_have_attribute("fill", "rgb(230,0,230)")
    first = page.locator(".frames rect:focus").bounding_box()
    page.keyboard.press("Shift+N")
    assert page.locator(".frames rect:focus").bounding_box() != first


@pytest.mark.parametrize("width", [700, 1280, 2400])
def test_a_picture_fits_the_window_and_labels_their_frames_at_any_width(page: Page, server: Server, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    open_off_wake(page, server)
    outside = page.evaluate(
        """() => {
          const rects = [...document.querySelectorAll('.frames rect')].map(r => r.getBoundingClientRect());
          return [...document.querySelectorAll('.labels text')].filter(text => {
            const t = text.getBoundingClientRect(), y = (t.top + t.bottom) / 2;
            return !rects.some(r => r.left <= t.left && t.right <= r.right + 1 && r.top <= y && y <= r.bottom);
          }).map(text => text.textContent);
        }"""
    )
    assert outside == []
    assert page.locator(".labels text").count() > 5
    fits = "document.querySelector('svg.flame').width.baseVal.value === document.querySelector('figure').clientWidth"
    assert page.evaluate(fits)
    labelled(page, "nginx")
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(1)
    assert page.evaluate(fits)


def test_a_file_zooms_and_searches_by_itself(page: Page, server: Server, tmp_path: Path) -> None:
    page.goto(server.url)
    page.get_by_role("link", name="whole.offwake").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download svg").click()
    svg = tmp_path / "off-wake.svg"
    download.value.save_as(svg)
    page.goto(svg.as_uri())
    labelled(page, "nginx")
    page.wait_for_url(re.compile(r"#zoom=\d+$"))
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(1)
    page.on("dialog", lambda dialog: dialog.accept("POSTGRES"))
    page.keyboard.press("F3")
    page.wait_for_url(re.compile("search=POSTGRES"))
    expect(page.locator(".matched")).to_have_text("Matched: 0.0 % (0.0 % of all)")
    page.keyboard.press("Control+i")
    expect(page.locator(MAGENTA).first).to_be_attached()
    page.reload()
    expect(page.locator(".matched")).to_have_text(re.compile(r"^Matched: [1-9]"))
    page.go_back()
    expect(page.locator(".matched")).to_have_text("Matched: 0.0 % (0.0 % of all)")
    page.keyboard.press("i")
    expect(page.locator(".frames rect").first).to_have_attribute("y", "0")
