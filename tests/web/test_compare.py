"""Comparing in the browser: from the list to words, a frame, modes, files, and back."""

import html
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect

from offwake.web.app import create_app
from tests.programs import Block, Program, Run, Wake, Workload
from tests.simulator import Simulator
from tests.traces import write_trace
from tests.web.conftest import HOSTILE_COMM, serving
from tests.web.flames import at_rest
from tests.web.test_accessibility import violations


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two recordings: in the second one a thread sleeps five times as long."""
    shown = tmp_path_factory.mktemp("compared")
    for name, sleep_ns in (("before", 200), ("after", 1_000)):
        programs = (
            Program("nginx", (Block(), Run(40))),
            Program("postgres", (Run(120), Wake(0), Block(timeout_ns=200, listens=False))),
            Program(HOSTILE_COMM, (Run(30), Wake(0), Block(timeout_ns=sleep_ns, listens=False))),
        )
        workload = Workload(programs=programs, cpus=2, seed=1, warm_up_ns=500, length_ns=200_000)
        write_trace(shown / f"{name}.offwake", Simulator(workload).trace)
    return shown


def compare(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_label("before.offwake, before").check()
    page.get_by_label("after.offwake, after").check()
    page.get_by_role("button", name="Compare the two").click()
    page.get_by_label("idle waits and sleepers").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_url(re.compile("all=1"))
    at_rest(page)
    expect(page.locator("svg.flame .button").first).to_be_visible()


def test_two_recordings_are_chosen_compared_and_a_change_leads_to_its_frame(page: Page, folder: Path) -> None:
    with serving(str(folder), page=page) as server:
        compare(page, server.url)
        first = page.locator("td.frame a").first
        expect(first).to_contain_text("more")
        first.click()
        page.wait_for_url(re.compile(r"zoom=\d+"))
        expect(page.locator(".frames rect[opacity='.5']").first).to_be_attached()
        page.locator(".frames rect").last.hover()
        expect(page.locator(".details")).to_have_text(
            re.compile(r" before, .* after \(.*\): (stands|does not stand) out")
        )

        page.get_by_text("Reset zoom").click()
        at_rest(page)
        page.get_by_role("link", name="by share").click()
        page.wait_for_url(re.compile("normalize=share"))
        expect(page.locator("svg.flame")).to_contain_text("by share of all: before.offwake → after.offwake")
        page.get_by_role("link", name="chain").click()
        page.wait_for_url(re.compile("view=chain"))
        page.locator("nav").get_by_role("link", name="after", exact=True).click()
        page.wait_for_url(re.compile("layout=after"))
        expect(page.locator("svg.flame")).to_contain_text("widths are after")
        shown, url = page.locator(".labels text, td.frame").all_text_contents(), page.url
        page.goto(url)
        expect(page.locator("svg.flame .button").first).to_be_visible()
        assert page.locator(".labels text, td.frame").all_text_contents() == shown
        page.go_back()
        page.keyboard.press("Control+f")
        page.keyboard.type("nginx")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("search=nginx.*|.*search=nginx"))
        expect(page.locator(".matched")).to_have_text(re.compile(r"^Matched: \d"))


def test_two_times_of_one_recording(page: Page, folder: Path) -> None:
    with serving(str(folder), page=page) as server:
        page.goto(server.url)
        page.get_by_role("link", name="after.offwake").click()
        page.goto(f"{page.url}?from=0&to=0.0001")
        page.get_by_role("link", name="Compare with another time").click()
        expect(page.locator("input[name=before]")).to_have_value("0-0.0001")
        page.locator("input[name=after]").fill("0.0001-0.0002")
        page.get_by_role("button", name="Compare").click()
        expect(page.locator("svg.flame")).to_contain_text("0-0.0001 s → after.offwake 0.0001-0.0002 s")


def address(client: FlaskClient, **more: str) -> dict[str, str]:
    page = client.get("/compare").get_data(as_text=True)
    before, after = (re.search(rf'value="(\w+)"[^>]*>{name}.offwake', page) for name in ("before", "after"))
    assert before and after
    return {"first": before[1], "second": after[1], **more}


def test_downloads_are_what_the_shown_command_makes(folder: Path, tmp_path: Path) -> None:
    client = create_app([folder]).test_client()
    query = address(client, view="off-cpu", normalize="share", all="1", icicle="1")
    page = client.get("/compare", query_string=query).get_data(as_text=True)
    command = re.search(r"<code>(.*?)</code>", page)
    assert command
    words = shlex.split(command[1].replace("&#39;", "'"))
    assert words[:2] == ["offwake", "diff"]
    words[words.index("-o") + 1] = str(tmp_path / "diff.svg")
    subprocess.run([sys.executable, "-m", *words], check=True, cwd=folder)
    assert "icicle=1" in page and '"icicle":true' in html.unescape((tmp_path / "diff.svg").read_text())
    assert client.get("/compare.svg", query_string=query).get_data(as_text=True) == (tmp_path / "diff.svg").read_text()
    stacks = json.loads(client.get("/compare.json", query_string=query).get_data(as_text=True))["stacks"]
    assert len(client.get("/compare.folded", query_string=query).get_data(as_text=True).splitlines()) == len(stacks)


def test_what_cannot_be_compared_is_said(folder: Path) -> None:
    client = create_app([folder]).test_client()
    query = address(client)
    for change, status, words in (
        ({"second": "nosuch"}, 404, "no such recording"),
        ({"view": "nosuch"}, 404, "no view"),
        ({"second": query["first"]}, 400, "say which two times"),
        ({"normalize": "twice"}, 400, "no such choice"),
        ({"before": "x"}, 400, "it takes two times"),
        ({"zoom": "x"}, 400, "whole number"),
    ):
        answer = client.get("/compare", query_string=query | change)
        assert answer.status_code == status and words in answer.get_data(as_text=True)


def test_recordings_of_one_name_are_told_apart_by_their_folders(folder: Path, tmp_path: Path) -> None:
    files = [tmp_path / day / "web01.offwake" for day in ("monday", "tuesday")]
    for file, name in zip(files, ("before", "after"), strict=True):
        file.parent.mkdir()
        file.write_bytes((folder / f"{name}.offwake").read_bytes())
    client = create_app([tmp_path / "monday", tmp_path / "tuesday", files[0]]).test_client()
    ids = dict(map(reversed, re.findall(r'<a href="/recording/(\w+)/">([^<]+)</a>', client.get("/").text)))
    assert list(ids) == [str(file) for file in files]
    page = client.get("/compare", query_string={"first": ids[str(files[0])], "second": ids[str(files[1])]}).text
    assert f"offwake diff {files[0]} {files[1]}" in page
    done = subprocess.run([sys.executable, "-m", "offwake", "diff", *files], capture_output=True, text=True, check=True)
    assert f"{files[0]} → {files[1]}" in page and f"{files[0]} → {files[1]}" in done.stdout


def test_names_are_escaped(folder: Path) -> None:
    client = create_app([folder]).test_client()
    page = client.get("/compare", query_string=address(client, all="1")).get_data(as_text=True)
    assert "<b>" not in page and "&lt;b&gt;" in page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Page, folder: Path, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    with serving(str(folder), page=page) as server:
        compare(page, server.url)
        assert violations(page) == []
