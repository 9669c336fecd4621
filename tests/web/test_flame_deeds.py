"""What a page does with a frame besides zooming: its callers and callees, stacks with it, stacks without it; the table."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import HOSTILE_COMM, Server
from tests.web.flames import INSIDE, at_rest, focus_picture, hover_first, label, labelled, menu_of, open_off_wake

ZOOM = """async times => {
  const frames = () => document.querySelectorAll('svg.flame .frames rect');
  for (let turn = 0; turn < 2 * times; turn++) {
    const before = document.querySelector('main');
    frames()[turn % 2 ? 0 : 1].dispatchEvent(new MouseEvent('click', { bubbles: true }));
    while (document.querySelector('main') === before) await new Promise(requestAnimationFrame);
  }
}"""
"""Zooms in and out, so many times, and waits for each picture."""
FRAMES_WAITED = 20


def asked(page: Page) -> dict[str, str]:
    """Return what the address asks for."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def depths(page: Page, name: str) -> set[int]:
    """Return at which depths a name is drawn; above the sandwiched frame they are negative."""
    found: list[int] = page.evaluate(
        """name => {
          const data = JSON.parse(document.querySelector('svg.flame metadata').textContent);
          return data.frames.filter(frame => data.names[frame[1]] === name).map(frame => frame[0]);
        }""",
        name,
    )
    return set(found)


def test_s_shows_callers_and_callees_and_all_stacks_leads_back(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    hover_first(page, "schedule_[k]")
    page.keyboard.press("s")
    page.wait_for_url(re.compile("sandwich="))
    assert asked(page) == {"sandwich": "schedule_[k]"}
    expect(page.locator("svg.flame desc")).to_have_text(re.compile(r"^What called schedule_\[k\], and what it called"))
    assert depths(page, "schedule_[k]") == {0} and depths(page, "sys_wait_1_[k]") == {-1} and depths(page, "--") == {1}
    rows = {text.text_content(): float(text.get_attribute("y") or "") for text in page.locator(".labels text").all()}
    assert rows["sys_wait_1_[k]"] < rows["schedule_[k]"] < rows["--"]
    page.keyboard.press("i")
    page.wait_for_url(re.compile("flame=1"))
    expect(label(page, "schedule_[k]")).not_to_have_attribute("y", f"{rows['schedule_[k]']:g}")  # there it is, flipped
    rows = {text.text_content(): float(text.get_attribute("y") or "") for text in page.locator(".labels text").all()}
    assert rows["sys_wait_1_[k]"] > rows["schedule_[k]"] > rows["--"]
    page.get_by_text("All stacks").click()
    page.wait_for_url(re.compile(r"off-wake\?flame=1$"))
    expect(page.locator("svg.flame desc")).to_have_text(re.compile("^Flame graph"))


def test_both_halves_of_a_sandwich_are_zoomed_walked_and_searched(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.get_by_role("link", name="whole.offwake").click()
    page.goto(page.url + "?sandwich=sys_send_[k]")
    expect(page.locator("svg.flame .button").first).to_be_visible()
    assert depths(page, "main") >= {-3} and depths(page, "postgres") >= {-4}  # of a waker's stack too, who called
    labelled(page, "main")  # callees are drawn first: it is that of a target
    page.wait_for_url(re.compile("zoom="))
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(7)
    page.get_by_text("Reset zoom").click()
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(0)
    at_rest(page)
    page.locator(".labels").get_by_text("main", exact=True).last.click(position=INSIDE, force=True)
    page.wait_for_url(re.compile("zoom="))
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(3)  # down to the frame of the sandwich
    hover_first(page, "postgres")
    expect(page.locator(".details")).to_have_text(re.compile(r"^postgres \(.*%\)$"))
    page.get_by_text("Reset zoom").click()
    page.wait_for_url(re.compile(r"sandwich=[^&]*$"))
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(0)
    focus_picture(page)
    page.keyboard.press("ArrowDown")
    expect(page.locator(".details")).to_have_text(re.compile(r"^sys_send_\[k\] "))
    page.keyboard.press("ArrowUp")
    expect(page.locator(".details")).to_have_text(re.compile(r"^do_syscall_64_\[k\] "))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".details")).to_have_text(re.compile(r"^try_to_wake_up_\[k\] "))
    page.locator("input[name=search]").fill("^main$")
    page.keyboard.press("Enter")
    expect(page.locator(".matched")).to_have_text(
        re.compile(r"^Matched: \d+\.\d % of callees, 100\.0 % of callers$")
    )


def test_h_hides_a_frame_after_the_other_and_f_keeps_the_stacks_with_one(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    for name, hidden in (("schedule_[k]", 1), ("main", 2)):
        hover_first(page, name)
        page.keyboard.press("h")
        page.wait_for_function("n => new URLSearchParams(location.search).get('hide')?.split('|').length === n", arg=hidden)
        expect(label(page, name)).to_have_count(0)
    assert asked(page) == {"hide": r"^schedule_\[k\]$|^main$"}
    hover_first(page, "nginx")
    page.keyboard.press("f")
    page.wait_for_url(re.compile("grep="))
    expect(page.locator("input[name=grep]")).to_have_value("^nginx$")
    expect(page.locator("footer code")).to_contain_text(r"--hide '^schedule_\[k\]$|^main$' --grep '^nginx$'")
    page.go_back()
    expect(page.locator("input[name=grep]")).to_have_value("")


def test_a_hidden_frame_on_the_way_to_the_zoom_ends_the_zoom(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    labelled(page, "nginx")
    page.wait_for_url(re.compile("zoom="))
    expect(page.locator("h2", has_text="under nginx")).to_be_visible()  # the server's picture
    hover_first(page, "schedule_[k]")
    page.keyboard.press("h")
    page.wait_for_url(re.compile("hide="))
    assert set(asked(page)) == {"hide", "zoom"}
    expect(page.locator(".frames rect[opacity='.5']")).to_have_count(1)
    hover_first(page, "nginx")
    page.keyboard.press("h")
    page.wait_for_function("new URLSearchParams(location.search).get('hide').includes('nginx')")
    assert set(asked(page)) == {"hide"}


def test_the_menu_of_a_frame_does_the_same(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    menu_of(page, "nginx")
    expect(page.locator(".menu [role=menuitem]")).to_have_text(
        ["Callers and callees (s)", "Only stacks with it (f)", "Hide it (h)"]
    )
    page.keyboard.press("Escape")
    expect(page.locator(".menu")).to_have_count(0)
    page.keyboard.press("m")
    expect(page.locator(".menu [role=menuitem]").first).to_be_focused()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url(re.compile("grep="))
    assert asked(page) == {"grep": "^nginx$"}


def test_a_letter_is_for_the_frame_that_has_the_focus_not_where_the_mouse_rests(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    hover_first(page, "schedule_[k]")
    focus_picture(page)
    for key in ("ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    focused = (page.locator(".frames rect:focus").get_attribute("aria-label") or "").partition(" ")[0]
    assert focused != "schedule_[k]"
    page.keyboard.press("f")
    page.wait_for_url(re.compile("grep="))
    assert asked(page) == {"grep": f"^{re.escape(focused)}$"}


def test_a_letter_in_the_menu_is_for_the_frame_of_the_menu(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    menu_of(page, "nginx")
    expect(page.locator(".menu [role=menuitem]").first).to_be_focused()
    hover_first(page, "postgres")
    page.keyboard.press("f")
    page.wait_for_url(re.compile("grep="))
    assert asked(page) == {"grep": "^nginx$"}


def test_all_and_other_have_no_menu(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    hover_first(page, "all")
    for key in "sfhm":
        page.keyboard.press(key)
    expect(page.locator(".menu")).to_have_count(0)
    assert asked(page) == {}


def test_the_mark_between_two_stacks_has_no_callers(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    hover_first(page, "--")
    page.keyboard.press("m")
    expect(page.locator(".menu [role=menuitem]")).to_have_text(["Only stacks with it (f)", "Hide it (h)"])
    assert page.locator("table.frames-table td.frame", has_text=re.compile("^--$")).count() == 1
    assert page.locator("table.frames-table td.frame a", has_text=re.compile("^--$")).count() == 0


def test_a_hostile_name_is_a_frame_like_any_other(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    shown = HOSTILE_COMM.replace("\x1b", "\ufffd")
    page.get_by_role("link", name=shown, exact=True).click()
    expect(page.locator("svg.flame desc")).to_contain_text(f"What called {shown}")
    page.get_by_text("All stacks").click()
    expect(page.locator("svg.flame desc")).to_have_text(re.compile("^Flame graph"))
    labelled(page, shown)
    page.wait_for_url(re.compile("zoom="))
    expect(page.locator("h2", has_text="under")).to_be_visible()  # the server's picture, where frames may stand elsewhere
    hover_first(page, shown)
    page.keyboard.press("f")
    page.wait_for_url(re.compile("grep="))
    expect(page.locator("svg.flame")).not_to_contain_text("no stacks")


def test_rows_of_the_table_are_sorted_and_lead_to_callers_and_callees(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    names = page.locator("table.frames-table td.frame")
    expect(names.first).to_have_text("[timer]")
    page.get_by_role("link", name="total", exact=True).click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("total ▾")
    page.wait_for_load_state()
    shares = [float(text.rstrip(" %")) for text in page.locator("table.frames-table td:nth-child(4)").all_text_contents()]
    assert shares == sorted(shares, reverse=True) and shares[0] == 100
    page.get_by_role("link", name="frame", exact=True).click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("frame ▴")
    page.wait_for_load_state()
    assert names.all_text_contents() == sorted(names.all_text_contents())
    page.get_by_role("link", name="sys_send_[k]", exact=True).click()
    page.wait_for_url(re.compile("sandwich="))
    assert asked(page) == {"sandwich": "sys_send_[k]"}
    with page.expect_download() as download:
        page.get_by_role("link", name="Download csv").click()
    assert download.value.path().read_text().splitlines()[0] == "self_ns,self_share,total_ns,total_share,frame"


@pytest.mark.parametrize(("by", "root"), [("thread", r"^nginx \(\d+\)$"), ("process", r"^postgres \(\d+\)$")])
def test_stacks_stand_on_threads_or_processes_when_asked_to(page: Page, server: Server, by: str, root: str) -> None:
    open_off_wake(page, server)
    page.locator("select[name=by]").select_option(by)
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(re.compile(f"by={by}"))
    expect(page.locator(".labels text", has_text=re.compile(root)).first).to_be_visible()
    expect(page.locator("footer code")).to_contain_text(f"--by {by}")


def test_zooming_leaves_nothing_behind(page: Page, server: Server) -> None:
    open_off_wake(page, server)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")

    def zoom(times: int) -> dict[str, float]:
        """Zoom, and return what is left when no more answers are on their way to being garbage."""
        page.evaluate(ZOOM, times)
        for _ in range(FRAMES_WAITED):
            page.evaluate("new Promise(requestAnimationFrame)")
            devtools.send("HeapProfiler.collectGarbage")
            found = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
            if found["Documents"] == 1:
                break
        return found

    early, late = zoom(5), zoom(25)
    assert late["Documents"] == 1 and late["JSEventListeners"] <= early["JSEventListeners"]
    assert late["Nodes"] <= 1.02 * early["Nodes"]
    assert late["JSHeapUsedSize"] <= early["JSHeapUsedSize"] + 500_000
