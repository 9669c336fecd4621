"""Pages and downloads: what they show, and that whatever is asked is answered with a page."""

import csv
import errno
import html
import io
import json
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from benchmarks.flame_graphs import waits_at_stacks
from offwake.analyzer import query
from offwake.analyzer.recording import Recording
from offwake.web.app import create_app
from offwake.web.asks import VIEW_FIELDS
from offwake.web.library import Library
from tests.traces import write_trace

KINDS = {
    "words": ("summary", "idle"),
    "flame": query.VIEWS,
    "heatmap": query.HEATMAPS,
    "histogram": query.HISTOGRAMS,
    "table": query.TABLES,
}
EVERY = [(kind, name) for kind, names in KINDS.items() for name in names]


def recording(client: FlaskClient, name: str = "whole.offwake") -> str:
    """Return the path of a recording's pages, from its link in the list."""
    found = re.search(rf'<a href="(/recording/[0-9a-f]+/)">{re.escape(name)}</a>', client.get("/").text)
    assert found, f"{name} is not in the list"
    return found[1]


def metadata(client: FlaskClient, path: str) -> dict[str, Any]:
    """Return what a flame graph says of itself."""
    found = re.search("<metadata>(.*?)</metadata>", client.get(path).text, re.S)
    assert found
    data: dict[str, Any] = json.loads(ET.fromstring(found[0]).text or "")
    return data


def frames(client: FlaskClient, path: str) -> dict[str, int]:
    """Return the drawn frames' names and keys."""
    data = metadata(client, path)
    return {data["names"][name]: key for _, name, _, key in data["frames"]}


def test_the_list_shows_whole_cut_and_foreign_files(client: FlaskClient) -> None:
    page = client.get("/").text
    assert recording(client) and recording(client, "cut.offwake.part")
    foreign = next(row for row in page.split("<tr>") if "foreign.offwake" in row)
    assert 'class="warn"' in foreign and "<a " not in foreign
    assert "notes.txt" not in page and "link.offwake" not in page and "secret" not in page


def test_a_recording_opens_at_off_wake(client: FlaskClient) -> None:
    answer = client.get(recording(client))
    assert answer.status_code == 302 and answer.location.endswith("/flame/off-wake")


def test_the_banner_is_there_exactly_when_something_is_missing(client: FlaskClient) -> None:
    assert 'class="banner"' not in client.get(recording(client) + "flame/off-wake").text
    assert 'class="banner"' in client.get(recording(client, "cut.offwake.part") + "flame/off-wake").text


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_picture_and_table_has_a_page_and_downloads(client: FlaskClient, kind: str, name: str) -> None:
    path = f"{recording(client)}{kind}/{name}"
    page = client.get(path)
    assert page.status_code == 200
    command = re.search("from a shell: <code>(.*?)</code>", page.text)
    assert command and any(words in command[1] for words in (f"--view {name}", f"--of {name}", f"offwake {name}"))
    forms = re.findall(rf'href="{path}\.([a-z]+)"', page.text)
    assert forms
    for form in forms:
        answer = client.get(f"{path}.{form}")
        assert answer.status_code == 200
        whole = f"{name}-frames" if (kind, form) == ("flame", "csv") else name
        assert answer.headers["Content-Disposition"] == f'attachment; filename="whole-{whole}.{form}"'
        if form == "svg":
            ET.fromstring(answer.data)
        if form == "json":
            json.loads(answer.data)
        if form == "csv":
            assert list(csv.reader(io.StringIO(answer.text)))


def test_downloads_agree_with_each_other_to_the_nanosecond(client: FlaskClient) -> None:
    document = client.get(recording(client) + "flame/off-wake.json").get_json()
    lines = client.get(recording(client) + "flame/off-wake.folded").text.splitlines()
    assert len(lines) == len(document["stacks"]) > 0
    assert sum(stack["value_ns"] for stack in document["stacks"]) == document["total_ns"] > 0


def test_the_selection_narrows_and_is_carried_to_the_command_and_the_tabs(client: FlaskClient) -> None:
    path = recording(client) + "flame/off-wake"
    page = client.get(f"{path}?comm=ngin*&from=0.00001&to=0.0001").text
    assert "--comm &#39;ngin*&#39; --from 0.00001 --to 0.0001" in page
    assert "/flame/off-cpu?comm=ngin*&amp;from=0.00001&amp;to=0.0001" in page
    whole = client.get(f"{path}.json").get_json()
    part = client.get(f"{path}.json?comm=ngin*&from=0.00001&to=0.0001").get_json()
    assert 0 < part["total_ns"] < whole["total_ns"]
    assert {stack["frames"][0] for stack in part["stacks"]} == {"nginx"}


def test_grep_keeps_stacks_with_a_matching_frame(client: FlaskClient) -> None:
    path = recording(client) + "flame/off-wake.json"
    everything, some = client.get(path).get_json(), client.get(f"{path}?grep=^postgres$").get_json()
    assert some["stacks"] == [stack for stack in everything["stacks"] if "postgres" in stack["frames"]]


def test_the_matched_share_counts_what_is_too_small_to_draw(client: FlaskClient) -> None:
    path = recording(client) + "flame/off-wake"
    document = client.get(f"{path}.json").get_json()
    share = sum(stack["value_ns"] for stack in document["stacks"] if "postgres" in stack["frames"])
    assert (
        f"Matched: {100 * share / document['total_ns']:.1f} %" in client.get(f"{path}?search=^POSTGRES$&icase=1").text
    )


def test_a_page_draws_fewer_frames_than_a_file_and_a_zoom_brings_others(tmp_path: Path) -> None:
    write_trace(tmp_path / "large.offwake", waits_at_stacks(6_500, 20))
    client = create_app([tmp_path]).test_client()
    path = f"{recording(client, 'large.offwake')}flame/off-cpu"

    def drawn(form: str, query: str = "") -> list[int]:
        return [key for *_, key in metadata(client, f"{path}{form}?all=1{query}")["frames"]]

    page, file = drawn(""), drawn(".svg")
    assert len(page) <= 2_000 < len(file) <= 4_000
    zoomed = drawn("", f"&zoom={page[3]}")
    assert set(zoomed) - set(page) and len(zoomed) <= 2_000


def test_a_zoom_shows_the_part_and_a_stale_one_says_so(client: FlaskClient) -> None:
    path = recording(client) + "flame/off-wake"
    key = frames(client, path)["nginx"]
    part = frames(client, f"{path}?zoom={key}")
    assert {"all", "nginx"} < set(part)
    assert len(part) < len(frames(client, path))
    assert "not among the selected stacks" in client.get(f"{path}?zoom=1").text


def test_a_table_sorts_filters_and_puts_the_unknown_last(client: FlaskClient) -> None:
    path = recording(client) + "table/threads"
    rows = client.get(f"{path}.json").get_json()
    page = client.get(f"{path}?sort=switches&down=1").text
    shown = [row["tid"] for row in sorted(rows, key=lambda row: -row["switches"])]
    assert [int(tid) for tid in re.findall(r'<tr><td><a href="[^"]+">off-wake</a><td class="number">(\d+)<', page)] == shown
    assert "threads: 1 rows" in client.get(f"{path}?grep=^postg").text
    assert client.get(f"{path}?sort=nothing").status_code == 400


def test_each_view_has_the_choices_that_it_understands(client: FlaskClient) -> None:
    for view, understood in query.OPTIONS.items():
        page = client.get(f"{recording(client)}flame/{view}?by=thread&split=1&chain=path&hide=x&sandwich=all").text
        shown = {name for name in VIEW_FIELDS if re.search(rf'(?<!hidden" )name="{name}"', page)}
        assert shown == set(understood)
        command = re.search("<code>(.*?)</code>", page)
        assert command and {name for name in VIEW_FIELDS if f"--{name}" in command[1]} == set(understood)
        assert page.count("split=1") >= len(query.VIEWS)  # the other views' tabs keep what is theirs


def test_what_nothing_fits_says_what_is_there(client: FlaskClient) -> None:
    base = recording(client)
    for page in ("flame/chain", "heatmap/off-cpu", "table/threads"):
        assert "no thread of process 99999 is in this recording" in client.get(f"{base}{page}?pid=99999").text
        assert "Nothing to show" not in client.get(f"{base}{page}?all=1").text
    assert "not recorded (source block)" in client.get(base + "table/block-io").text


def test_a_search_in_rows_is_no_search_in_stacks(client: FlaskClient) -> None:
    base = recording(client)
    tabs = client.get(base + "flame/off-wake?grep=futex&comm=nginx").text
    assert "flame/off-cpu?grep=futex&amp;comm=nginx" in tabs or "flame/off-cpu?comm=nginx&amp;grep=futex" in tabs
    assert "table/threads?comm=nginx" in tabs and "heatmap/off-cpu?grep=futex" in tabs.replace("comm=nginx&amp;", "")


def test_every_picture_says_whether_the_recording_is_complete(client: FlaskClient) -> None:
    for name, words in (("whole.offwake", "events · complete"), ("cut.offwake.part", "not complete: not ended")):
        for path in [f"{recording(client, name)}{kind}/{of}" for kind, of in EVERY if kind in ("flame", "heatmap")]:
            assert words in client.get(path).text
            assert words in client.get(path + ".svg").text


@pytest.mark.parametrize(
    ("query_string", "sentence"),
    [
        ("pid=x", "whole number"),
        ("pid=-1", "whole number"),
        ("tid=99999999999", "whole number"),
        ("from=nan", "seconds since"),
        ("from=2&to=1", "nothing lies between them"),
        ("to=1e300", "seconds since"),
        ("grep=(", "no regular expression"),
        ("grep=" + "a" * 1000, "longer than"),
        ("comm=" + "a" * 1000, "longer than"),
        ("zoom=x", "whole number"),
        ("state=Q", "is no state"),
        ("by=name", "no such choice"),
        ("min_us=2&max_us=1", "nothing lies between them"),
        ("max_us=-1", "it takes microseconds"),
    ],
)
def test_a_wrong_query_is_a_page_with_a_sentence(client: FlaskClient, query_string: str, sentence: str) -> None:
    answer = client.get(f"{recording(client)}flame/off-wake?{query_string}")
    assert answer.status_code == 400 and sentence in answer.text


@pytest.mark.parametrize("expression", ["(", "(a+)+(b+)+$" + "(c*)*" * 50, "[[a]", "(?P<a>.)(?P=b)", "a{99999999999}"])
def test_a_wrong_search_leaves_the_picture_and_says_so(client: FlaskClient, expression: str) -> None:
    answer = client.get(f"{recording(client)}flame/off-wake", query_string={"search": expression})
    assert answer.status_code == 200 and "</svg>" in answer.text


def test_what_does_not_exist_is_404(client: FlaskClient) -> None:
    base = recording(client)
    for path in ("/nothing", "/recording/0000000000000000/", base + "flame/nothing", base + "table/nothing.csv"):
        assert client.get(path).status_code == 404
    for path in ("words/events:x", "words/summary.json", "heatmap/events:", "histogram/events:", "table/events:"):
        assert client.get(base + path).status_code == 404
    assert "Known are: " in client.get(base + "flame/nothing").text


def test_a_foreign_file_is_a_page_with_its_sentence(client: FlaskClient) -> None:
    library: Library = client.application.extensions["library"]
    foreign = next(entry for entry in library.entries() if entry.name == "foreign.offwake")
    answer = client.get(f"/recording/{foreign.id}/flame/off-wake")
    assert answer.status_code == 400 and "foreign.offwake" in answer.text


def test_the_commands_of_the_summary_name_the_file_as_a_shell_takes_it(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "web 01.offwake").write_bytes((folder / "whole.offwake").read_bytes())
    client = create_app([tmp_path]).test_client()
    page = client.get(recording(client, "web 01.offwake") + "words/summary").text
    files = re.findall(r"offwake (?:idle|flamegraph|serve) ('[^']+'|\S+)", html.unescape(page))
    assert files == ["'web 01.offwake'"] * 3


def test_an_unreadable_recording_says_so_until_its_permissions_change(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "closed.offwake"
    file.write_bytes((folder / "whole.offwake").read_bytes())
    client = create_app([tmp_path]).test_client()

    def refused(path: Path) -> Recording:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:  # root may read everything
        patched.setattr(Recording, "open", refused)
        assert "closed.offwake: Permission denied; check its permissions" in client.get("/").text
        base = f"/recording/{client.application.extensions['library'].entries()[0].id}/"
        for path in ("", "flame/off-wake", "heatmap/off-cpu.svg", "table/threads", "overview.svg", "words/summary.txt"):
            answer = client.get(base + path)
            assert answer.status_code == 400 and "check its permissions" in answer.text
    file.chmod(0o640)
    assert recording(client, "closed.offwake") == base and client.get(base + "flame/off-wake.svg").status_code == 200


def test_what_begins_with_a_dash_is_no_option_in_the_shown_command(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "-x.offwake").write_bytes((folder / "whole.offwake").read_bytes())
    client = create_app([tmp_path]).test_client()
    page = client.get(recording(client, "-x.offwake") + "table/threads?comm=-y&grep=-z").text
    command = re.search("from a shell: <code>(.*?)</code>", page)
    assert command
    words = shlex.split(html.unescape(command[1]))
    done = subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_picture_that_is_turned_over_is_so_in_its_file(client: FlaskClient) -> None:
    path = recording(client) + "flame/off-wake"
    for way in ("icicle", "flame"):
        link = re.search(rf'href="({path}\.svg[^"]*)"', client.get(f"{path}?{way}=1").text)
        assert link and metadata(client, link[1])["icicle"] == (way == "icicle")
