"""A report is one file that opens from disk: everything in it works, and nothing in it asks anybody for anything."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from benchmarks.flame_graphs import waits_at_stacks
from offwake.analyzer.query import profile
from offwake.analyzer.recording import Recording
from offwake.analyzer.render.tree import FrameTree
from offwake.analyzer.select import Selection
from offwake.cli import main
from offwake.web.report import report
from tests.traces import write_trace
from tests.web.conftest import HOSTILE_COMM

DEMO = Path(__file__).parents[2] / "examples" / "demo.offwake"
SIZE_AT_MOST = 4_000_000


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of the recording that comes with offwake."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["report", str(DEMO), "-o", str(path)]) == 0
    return path


def test_it_opens_from_disk_and_asks_nobody(page: Page, demo: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(demo.as_uri())
    expect(page.get_by_role("heading", name="What was waited for longest, and why")).to_be_visible()
    for picture in page.locator("iframe").all():
        picture.scroll_into_view_if_needed()
        expect(picture.content_frame.locator("svg")).to_be_visible()
    assert page.locator("iframe").count() >= 6
    assert asked == [demo.as_uri()]


def test_its_flame_graphs_zoom_and_search_each_by_itself(page: Page, demo: Path) -> None:
    page.goto(demo.as_uri())
    first, second = (page.frame_locator(f"iframe[title={view}]") for view in ("off-wake", "chain"))
    page.locator("iframe[title=off-wake]").scroll_into_view_if_needed()
    first.locator(".frames rect").nth(1).click()
    expect(first.locator(".frames rect[opacity='.5']")).to_have_count(1)
    expect(second.locator(".frames rect[opacity='.5']")).to_have_count(0)
    page.on("dialog", lambda dialog: dialog.accept("shop"))
    page.keyboard.press("F3")
    expect(first.locator(".matched")).to_have_text(re.compile("^Matched: "))
    expect(second.locator(".matched")).to_have_text("")


def test_its_heat_maps_tell_their_cells(page: Page, demo: Path) -> None:
    page.goto(demo.as_uri())
    page.locator("iframe[title='off-cpu latency']").scroll_into_view_if_needed()
    frame = page.frame_locator("iframe[title='off-cpu latency']")
    frame.locator(".plot").hover(position={"x": 200, "y": 50})
    expect(frame.locator(".details")).to_have_text(re.compile(r"\(\d+\.\d\d %\)$"))


def test_its_policy_allows_its_own_scripts_and_nothing_else(demo: Path) -> None:
    text = demo.read_text()
    policy = re.search('<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
    assert policy and policy[1].startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "unsafe" not in policy[1] and not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_its_size_is_bounded_and_it_says_where_it_was_cut(demo: Path) -> None:
    assert demo.stat().st_size < SIZE_AT_MOST
    assert "the first 100 of 981 rows" in demo.read_text()


def test_a_picture_of_a_hundred_thousand_frames_is_at_most_500_kb_in_it_too(tmp_path: Path) -> None:
    file = write_trace(tmp_path / "large.offwake", waits_at_stacks(1_200, 100))
    with Recording.open(file) as recording:
        assert len(FrameTree(profile(recording, "off-wake", Selection(show_all=True)))) > 100_000
        text = report(recording, file, Selection(show_all=True))
    pictures = re.findall("<iframe [^>]* srcdoc='([^']*)'", text)
    assert len(pictures) >= 4 and max(len(picture.encode()) for picture in pictures) <= 500_000
    assert len(text.encode()) - sum(len(picture.encode()) for picture in pictures) < 200_000


def test_hostile_names_are_text(folder: Path) -> None:
    with Recording.open(folder / "whole.offwake") as recording:
        text = report(recording, folder / "whole.offwake", Selection(comm=HOSTILE_COMM.replace("[", "[[]")))
    assert "<b>" not in text and "&lt;b>" not in text and "\x1b" not in text
    assert text.count("&lt;b&gt;") > 3  # in the page
    assert text.count("&amp;lt;b&amp;gt;") > 3  # in the pictures


def test_what_is_missing_stands_first_and_is_the_exit_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder / "cut.offwake.part"), "-o", "-", "--comm", "nginx"]) == 4
    text = capsys.readouterr().out
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    assert "Not complete." in text and text.index("was not ended") < text.index("spent their time")
    assert "Selected: <code>--comm nginx</code>" in text
