"""Flame graphs as files in Chromium: sandwiches, high pictures, keys, and ten thousand hostile names."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from offwake.analyzer.profile import Profile
from offwake.analyzer.render.flamegraph import FlameOptions, flame_graph
from offwake.analyzer.render.sandwich import frame_tree
from offwake.analyzer.render.svg import Caption
from offwake.analyzer.render.tree import FrameTree
from tests.render.profiles import hostile_profile, small_profile
from tests.web.flames import MAGENTA, hover_first, label, labelled, stand

CAPTION = Caption("off-wake", "web01 · 10.0 s")


def opened(page: Page, folder: Path, tree: FrameTree, options: FlameOptions | None = None) -> None:
    """Write a picture to a file, and open that."""
    file = folder / "flame.svg"
    file.write_text(flame_graph(tree, CAPTION, options))
    page.goto(file.as_uri())
    expect(page.locator(".button").first).to_be_attached()


def test_a_sandwich_has_its_halves_on_both_sides(page: Page, tmp_path: Path) -> None:
    opened(page, tmp_path, frame_tree(small_profile(), "read_[k]"))
    stand(page, "nginx", "main", "read_[k]", "--", "reply")
    hover_first(page, "main")
    expect(page.locator(".details")).to_have_text("main (40.0 ms, 100.00 % of read_[k], 40.00 % of all)")
    page.keyboard.press("i")
    page.wait_for_url(re.compile("#flame=1$"))
    stand(page, "reply", "--", "read_[k]", "main", "nginx")
    page.keyboard.press("i")
    page.wait_for_url(re.compile("#$"))
    labelled(page, "main")
    page.wait_for_url(re.compile(r"#zoom=\d+$"))
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(1)
    expect(label(page, "--")).to_have_count(0)
    page.on("dialog", lambda dialog: dialog.accept("nginx|reply"))
    page.keyboard.press("Control+f")
    expect(page.locator(".matched")).to_have_text("Matched: 100.0 %")
    page.get_by_text("Reset zoom").click()
    expect(page.locator(".matched")).to_have_text("Matched: 100.0 % of callees, 100.0 % of callers")
    page.keyboard.press("Escape")
    expect(page.locator(".matched")).to_have_text("")
    expect(page.locator(MAGENTA)).to_have_count(0)


def test_hover_tells_the_share_of_what_is_zoomed_and_of_all(page: Page, tmp_path: Path) -> None:
    opened(page, tmp_path, FrameTree(small_profile()))
    hover_first(page, "read_[k]")
    expect(page.locator(".details")).to_have_text("read_[k] (40.0 ms, 40.00 %)")
    labelled(page, "main")
    page.wait_for_url(re.compile("zoom="))
    hover_first(page, "read_[k]")
    expect(page.locator(".details")).to_have_text("read_[k] (40.0 ms, 66.67 % of zoomed, 40.00 % of all)")


def test_arrows_walk_from_frame_to_frame(page: Page, tmp_path: Path) -> None:
    opened(page, tmp_path, FrameTree(small_profile()))
    page.locator("svg.flame").focus()
    walked = []
    for key in ("Up", "Up", "Right", "Left", "Up", "Down", "Down"):
        page.keyboard.press("Arrow" + key)
        walked.append((page.locator(".details").text_content() or "").split(" ")[0])
    assert walked == ["all", "nginx", "redis", "nginx", "main", "nginx", "all"]


def test_next_and_previous_go_round_the_matches(page: Page, tmp_path: Path) -> None:
    opened(page, tmp_path, FrameTree(small_profile()))
    page.on("dialog", lambda dialog: dialog.accept("^(redis|sh|nginx)$"))
    page.keyboard.press("F3")
    expect(page.locator(MAGENTA)).to_have_count(4)  # nginx is a waker too
    walked = []
    for key in ("n", "n", "n", "n", "n", "Shift+N"):
        page.keyboard.press(key)
        walked.append((page.locator(".details").text_content() or "").split(" ")[0])
    assert walked == ["nginx", "nginx", "redis", "sh", "nginx", "sh"]


def test_a_high_picture_hangs_from_its_root_until_it_is_flipped(page: Page, tmp_path: Path) -> None:
    profile = Profile("off-cpu")
    profile.add(("deep", *(f"f{number}" for number in range(60))), 900)
    profile.add(("flat", "g"), 100)
    opened(page, tmp_path, FrameTree(profile))
    stand(page, "all", "deep", "f0", "f1")
    expect(label(page, "all")).to_be_in_viewport()
    page.keyboard.press("i")
    page.wait_for_url(re.compile("flame=1"))
    stand(page, "f1", "f0", "deep", "all")
    page.reload()
    stand(page, "deep", "all")
    page.go_back()
    expect(label(page, "all")).to_have_attribute("y", "11")
    page.evaluate("scrollTo(0, 500)")
    hover_first(page, "f50")
    expect(page.locator(".details")).to_be_in_viewport()  # the line under the title follows


@pytest.mark.parametrize("sandwich", [None, "&amp;&#0;&bogus;"])
def test_ten_thousand_hostile_names_do_nothing_in_a_browser(page: Page, tmp_path: Path, sandwich: str | None) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a name ran as a script: {dialog.message}"))
    opened(page, tmp_path, frame_tree(hostile_profile(), sandwich))
    assert page.locator(".frames rect").count() > 100
    assert page.evaluate("document.querySelectorAll('script, a, image, foreignObject').length") == 1
    for place in (1, 20, 50):
        page.locator(".frames rect").nth(place).hover(force=True)
    page.keyboard.press("?")
    expect(page.locator(".help")).to_contain_text("Shift-n")
