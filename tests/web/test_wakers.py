"""A recording without wakers: it opens, and every link of its pages leads to a page."""

import html
import re

import pytest
from flask.testing import FlaskClient

from offwake.format.layout import Kind
from offwake.web.app import create_app
from tests.analyzer.test_nonsense import EXAMPLE, blocks_of, write
from tests.web.test_pages import EVERY, recording


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """Return a client of a recording that says that it was made with --no-wakers."""
    blocks = blocks_of(EXAMPLE)
    for block, content in blocks:
        if block.kind == Kind.KEYFRAME:
            nobody: dict[str, list[int]] = {"pids": [], "tids": [], "cgroups": [], "members": []}
            content["narrowing"] = nobody | {"command": False, "wakers": False}
    return create_app([write(tmp_path_factory.mktemp("web") / "narrow.offwake", blocks)]).test_client()


def test_it_opens_at_off_cpu(narrow: FlaskClient) -> None:
    answer = narrow.get(recording(narrow, "narrow.offwake"))
    assert answer.status_code == 302 and answer.location.endswith("/flame/off-cpu")


@pytest.mark.parametrize("page", ["flame/off-wake", "flame/chain", "table/waits-for"])
def test_what_rests_on_wakers_is_a_page_that_says_so(narrow: FlaskClient, page: str) -> None:
    answer = narrow.get(recording(narrow, "narrow.offwake") + page)
    assert answer.status_code == 200 and "Nothing to show: not recorded (--no-wakers)" in answer.text
    assert "<nav" in answer.text


def test_no_link_leads_to_what_it_lacks(narrow: FlaskClient) -> None:
    base, opened = recording(narrow, "narrow.offwake"), set()
    for kind, name in EVERY:
        text = narrow.get(f"{base}{kind}/{name}").text
        page = re.sub("<nav.*</nav>", "", text, flags=re.S)
        links = [html.unescape(link) for link in re.findall(rf'<a href="({base}flame/[^".]+)"', page)]
        opened |= {link.partition("?")[0].removeprefix(f"{base}flame/") for link in links if f"/{name}?" not in link}
        for link in links[:2]:
            assert narrow.get(link).status_code == 200
    assert opened <= {"off-cpu", "run-queue", "on-cpu", "wall"} and "off-cpu" in opened


def test_a_row_of_block_io_opens_its_time(narrow: FlaskClient) -> None:
    page = narrow.get(recording(narrow, "narrow.offwake") + "table/block-io").text
    link = re.search(r'<tr><td><a href="([^"]+)">off-cpu<', page)
    assert link and "from=" in link[1] and "grep=" not in link[1]


def test_two_times_of_it_are_compared_off_cpu(narrow: FlaskClient) -> None:
    entry = recording(narrow, "narrow.offwake").split("/")[2]
    page = narrow.get(f"/compare?first={entry}&before=0-0.5&after=0.5-1")
    assert page.status_code == 200 and "--view off-cpu" in page.text and "view=chain" not in page.text
