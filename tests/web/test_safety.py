"""Safe by default: a test for every sentence."""

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, Page, expect

from offwake.analyzer.search import matching_names
from offwake.errors import UsageError
from offwake.format.layout import Kind
from offwake.web.app import create_app
from offwake.web.library import ENTRIES_AT_MOST, Recent
from tests.analyzer.test_nonsense import blocks_of, write
from tests.programs import Block, Program, Run, Workload
from tests.simulator import Simulator
from tests.traces import write_trace
from tests.web.conftest import HOSTILE_COMM, Server, serving
from tests.web.fuzz import fuzz
from tests.web.test_pages import EVERY, recording

TOKEN = "0123456789abcdef0123456789abcdef"


def everything(client: FlaskClient) -> list[str]:
    """Return a path of every kind, errors among them."""
    base = recording(client)
    return [
        "/",
        base,
        base + "flame/off-wake",
        base + "flame/off-wake.svg",
        "/static/page.js",
        "/picture/flamegraph.js",
        "/x",
    ]


def test_every_answer_has_the_safe_headers(client: FlaskClient) -> None:
    for path in everything(client):
        headers = client.get(path, buffered=True).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "*" not in policy
        assert "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_pages_have_no_inline_script_or_style_and_ask_nobody_else(client: FlaskClient) -> None:
    base = recording(client)
    for kind, name in EVERY:
        page = client.get(f"{base}{kind}/{name}").text
        assert "<style" not in page and " style=" not in page and not re.search(r"\son[a-z]+=", page)
        assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.S) == [""] * 4
        assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "192.0.2.1", ""])
def test_another_host_name_is_refused(client: FlaskClient, host: str) -> None:
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == 400
    assert "whole.offwake" not in answer.text


def test_another_host_name_is_refused_also_where_flask_checks_none(folder: Path) -> None:
    app = create_app([folder])
    app.config["TRUSTED_HOSTS"] = None  # Flask before 3.1 does not look at it
    for path in ("/", "/static/page.css", "/nothing"):
        assert app.test_client().get(path, headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "localhost:1"])
def test_this_machine_is_answered(client: FlaskClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


def test_without_the_token_nothing_is_answered(folder: Path) -> None:
    client = create_app([folder], token=TOKEN).test_client()
    for path in ("/", "/static/page.css", "/?token=", "/?token=" + "0" * 32, "/?token=é"):
        assert client.get(path).status_code == 401
    client.set_cookie("offwake", "wrong")
    assert client.get("/").status_code == 401


def test_the_token_is_asked_once_and_then_a_cookie(folder: Path) -> None:
    client = create_app([folder], token=TOKEN).test_client()
    answer = client.get(f"/?token={TOKEN}")
    assert answer.status_code == 302 and "token" not in answer.location
    cookie = answer.headers["Set-Cookie"]
    assert "SameSite=Lax" in cookie and "HttpOnly" in cookie
    assert client.get("/").status_code == 200
    elsewhere = {"PATH_INFO": "//evil.example/"}
    assert client.get("/", query_string={"token": TOKEN}, environ_overrides=elsewhere).location == "/evil.example/"


def test_a_file_outside_the_folder_a_link_and_a_prefix_sibling_are_404(client: FlaskClient, folder: Path) -> None:
    ids = {entry.id for entry in client.application.extensions["library"].entries()}
    reachable = {entry.path for entry in client.application.extensions["library"].entries()}
    assert reachable == {folder / name for name in ("whole.offwake", "cut.offwake.part", "foreign.offwake")}
    others = create_app([folder.parent, folder.parent / "recordings-of-others"]).extensions["library"].entries()
    outside = [entry for entry in others if entry.id not in ids]
    assert len(outside) == 2
    for name in (*(entry.id for entry in outside), "link.offwake", "../secret.offwake", "..%2fsecret.offwake"):
        assert client.get(f"/recording/{name}/flame/off-wake").status_code == 404


def test_a_file_replaced_by_a_link_is_gone(tmp_path: Path, folder: Path) -> None:
    shown = tmp_path / "a.offwake"
    shown.write_bytes((folder / "whole.offwake").read_bytes())
    client = create_app([tmp_path]).test_client()
    path = recording(client, "a.offwake")
    shown.unlink()
    shown.symlink_to(folder / "whole.offwake")
    assert client.get(path).status_code == 404


def test_names_from_the_recording_are_text_everywhere(client: FlaskClient) -> None:
    base = recording(client)
    seen = 0
    for kind, name in EVERY:
        page = client.get(f"{base}{kind}/{name}").text
        assert "<b>" not in page and "\x1b" not in page
        seen += "&lt;b&gt;&amp;" in page
    assert seen > 2
    assert any(
        stack["frames"][0] == HOSTILE_COMM for stack in client.get(base + "flame/off-cpu.json").get_json()["stacks"]
    )
    query = {"comm": '"><script>alert(1)</script>', "search": "</input><b>", "sort": "<b>"}
    for path in (base + "flame/off-wake", base + "table/threads", base + "flame/<b>", "/<b>"):
        assert "<script>alert" not in (text := client.get(path, query_string=query).text) and "<b>" not in text


def test_a_catastrophic_expression_is_given_up() -> None:
    with pytest.raises(UsageError, match="was not matched within 2 s"):
        matching_names("(a|aa)+$", ["a" * 60 + "b"])


def test_the_command_listens_on_loopback_says_where_and_ends_cleanly(server: Server, folder: Path) -> None:
    with serving(str(folder)) as own:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", own.url)
        with urllib.request.urlopen(own.url) as answer:
            assert b"whole.offwake" in answer.read() and "Server" not in answer.headers
        own.process.send_signal(signal.SIGINT)
        assert own.process.wait(10) == 0


def test_a_host_name_is_known_however_it_is_written(folder: Path) -> None:
    with serving(str(folder), "--allow-host", "Web01.Example") as own:
        asked = urllib.request.Request(own.url, headers={"Host": "web01.example"})
        with urllib.request.urlopen(asked) as answer:
            assert answer.status == 200


def test_the_link_with_the_token_opens_from_another_site(page: Page, folder: Path) -> None:
    with serving(str(folder), "--host", "0.0.0.0", page=page) as own:
        port_and_token = own.url.rpartition(":")[2]
        body = f'<link rel="icon" href="data:,"><a href="http://127.0.0.1:{port_and_token}">recordings</a>'
        page.route("http://elsewhere.example/", lambda route: route.fulfill(content_type="text/html", body=body))
        page.goto("http://elsewhere.example/")
        page.get_by_role("link", name="recordings").click()
        expect(page.get_by_role("link", name="whole.offwake")).to_be_visible()


def test_a_wider_bind_has_a_token_of_128_bits(folder: Path) -> None:
    with serving(str(folder), "--host", "0.0.0.0") as own:
        found = re.search(r"^http://.+:(\d+)/\?token=([0-9a-f]{32})$", own.url)
        assert found
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/")
        refused.value.close()


def test_a_port_in_use_and_a_missing_folder_are_one_line(server: Server, folder: Path) -> None:
    port = server.url.rpartition(":")[2].strip("/")
    for arguments, status in (([str(folder), "--port", port], 1), (["/no/such/folder"], 2), (["--port", "99999"], 2)):
        done = subprocess.run([sys.executable, "-m", "offwake", "serve", *arguments], capture_output=True, text=True)
        assert done.returncode == status
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("offwake: ")


def test_two_thousand_fuzzed_requests_give_no_500(client: FlaskClient) -> None:
    fuzz(client, recording(client), seed=5, requests=2_000)


def test_scripts_and_styles_are_known_by_a_word_of_one_answer(client: FlaskClient) -> None:
    seen = set()
    for path in everything(client):
        answer = client.get(path, buffered=True)
        policy = answer.headers["Content-Security-Policy"]
        word = re.search(r"script-src 'nonce-([\w-]{22})'; style-src 'nonce-\1';", policy)
        assert word  # 22 characters of 6 bits: 128 bits
        seen.add(word[1])
        if answer.content_type.startswith("text/html"):
            named = re.findall(r'<(?:script|link rel="stylesheet")([^>]*)>', answer.text)
            assert all(f'nonce="{word[1]}"' in attributes for attributes in named)
    assert len(seen) == len(everything(client))


def test_the_browser_runs_no_script_that_a_template_did_not_name(browser: Browser, server: Server) -> None:
    context = browser.new_context()
    page, refused = context.new_page(), list[str]()
    page.on("console", lambda message: refused.append(message.text))
    page.goto(server.url)
    for injected in ("script.textContent = 'window.broken = 1'", "script.src = '/static/page.js?again'"):
        page.evaluate(
            f"() => {{ const script = document.createElement('script'); {injected}; document.body.append(script); }}"
        )
    page.evaluate(
        "() => { const p = document.createElement('p'); p.setAttribute('onclick', 'window.broken = 1'); "
        "document.body.append(p); p.click(); }"
    )
    assert page.evaluate("window.broken") is None
    assert len(refused) == 3 and all("Content Security Policy" in words for words in refused)
    context.close()


def test_names_that_make_even_escaped_xml_ill_formed_are_replaced(tmp_path: Path) -> None:
    hostile = "a\ufffe\x01\u202e]]>"
    program = Program(hostile, (Run(70), Block(timeout_ns=90, listens=False)))
    trace = Simulator(Workload((program,), cpus=1, seed=1, warm_up_ns=100, length_ns=20_000)).trace
    client = create_app([write_trace(tmp_path / "whole.offwake", trace)]).test_client()
    base, seen = recording(client), 0
    for kind, name in EVERY:
        page = client.get(f"{base}{kind}/{name}?all=1").text
        assert not re.search("[\x01\ufffe\u202e]", page)
        seen += "a\ufffd\ufffd\ufffd]]&gt;" in page
        for form in re.findall(rf'href="{base}{kind}/{name}\.([a-z]+)', page):
            text = client.get(f"{base}{kind}/{name}.{form}?all=1").text
            if form == "json":  # JSON has the name as it is, and cannot be broken by it
                json.loads(text)
            else:
                assert not re.search("[\x01\ufffe\u202e]", text)
            if form == "svg":
                ET.fromstring(text)
    assert seen > 8


def test_a_file_name_cannot_write_headers(tmp_path: Path, folder: Path) -> None:
    hostile = tmp_path / 'a"; x="\r\nX-Broken: 1\r\n é<b>.offwake'
    hostile.write_bytes((folder / "whole.offwake").read_bytes())
    client = create_app([tmp_path]).test_client()
    page = client.get("/").text
    assert "<b>" not in page
    base = re.search("/recording/[0-9a-f]+/", page)
    assert base
    answer = client.get(base[0] + "table/threads.csv")
    assert "X-Broken" not in answer.headers
    assert re.fullmatch(r'attachment; filename="[\w.-]+"', answer.headers["Content-Disposition"])


def test_a_host_name_is_text(tmp_path: Path, folder: Path) -> None:
    blocks = blocks_of(folder / "whole.offwake")
    for block, content in blocks:
        if block.kind == Kind.KEYFRAME:
            content["host"] = "<b>\x1b\ufffe"
    client = create_app([write(tmp_path / "whole.offwake", blocks)]).test_client()
    for path in ("/", recording(client) + "flame/off-wake", recording(client) + "flame/off-wake.svg"):
        text = client.get(path).text
        assert "<b>" not in text and "&lt;b&gt;\ufffd\ufffd" in text


def test_ids_are_opaque_and_belong_to_one_file(client: FlaskClient, folder: Path) -> None:
    ids = re.findall('href="/recording/([^/]+)/"', client.get("/").text)
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in ids) and len(set(ids)) == 2
    assert not any(name in one for one in ids for name in ("whole", "cut", str(folder)))


def test_no_query_is_without_limit_and_each_says_where_it_was_cut(tmp_path: Path) -> None:
    for number in range(ENTRIES_AT_MOST + 3):
        (tmp_path / f"{number:04}.offwake").touch()
    page = create_app([tmp_path]).test_client().get("/").text
    assert "The first 1,000 of 1,003 recordings" in page and page.count(".offwake<") == ENTRIES_AT_MOST


def test_what_is_kept_in_memory_is_bounded() -> None:
    dropped: list[int] = []
    recent: Recent[int, int] = Recent(3, dropped.append)
    working = threading.RLock()
    for number in range(10):
        assert recent.get(number, lambda number=number: number, working) == number  # type: ignore[misc]
    assert dropped == list(range(7))
    assert recent.get(9, lambda: -1, working) == 9


def test_a_crowd_is_answered_and_a_large_request_is_not(server: Server) -> None:
    paths = [f"?crowd={number}" for number in range(60)]
    with ThreadPoolExecutor(30) as crowd:
        answers = list(crowd.map(lambda path: urllib.request.urlopen(server.url + path, timeout=60).status, paths))
    assert answers == [200] * 60
    for large in (
        urllib.request.Request(server.url, data=b"x" * 100_000),
        urllib.request.Request(server.url, headers={"X-Large": "x" * 100_000}),
    ):
        with pytest.raises((urllib.error.URLError, ConnectionError)) as refused:
            urllib.request.urlopen(large, timeout=60)
        if isinstance(refused.value, urllib.error.HTTPError):
            assert refused.value.code in (413, 431)
            refused.value.close()
