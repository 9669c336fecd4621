"""A folder of recordings, the application over it, the command that serves it, and a browser to look with."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, Page, sync_playwright

from offwake.web.app import create_app
from tests.programs import Block, Program, Run, Wake, Workload
from tests.simulator import Simulator
from tests.traces import write_trace

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE_COMM = "<b>&\"'\x1b[1m"
WORKLOAD = Workload(
    programs=(
        Program("nginx", (Block(), Run(40))),
        Program("postgres", (Run(120), Wake(0), Block(timeout_ns=200, listens=False))),
        Program(HOSTILE_COMM, (Run(70), Wake(0), Block(timeout_ns=90, listens=False))),
        Program("sleeper", (Block(timeout_ns=None, listens=False),)),
    ),
    cpus=2,
    seed=1,
    warm_up_ns=500,
    length_ns=200_000,
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a whole, a cut and a foreign recording, and with what must not be reachable."""
    beside = tmp_path_factory.mktemp("web")
    shown = beside / "recordings"
    shown.mkdir()
    whole = write_trace(shown / "whole.offwake", Simulator(WORKLOAD).trace)
    (shown / "cut.offwake.part").write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    (shown / "foreign.offwake").write_bytes(b"#!/bin/sh\nexit\n" * 100)
    (shown / "notes.txt").write_text("no recording")
    (beside / "recordings-of-others").mkdir()
    for secret in (beside / "secret.offwake", beside / "recordings-of-others" / "secret.offwake"):
        secret.write_bytes(whole.read_bytes())
    (shown / "link.offwake").symlink_to(beside / "secret.offwake")
    return shown


@pytest.fixture(scope="session")
def app(folder: Path) -> Flask:
    """Return the application over the folder."""
    return create_app([folder])


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Return a client that asks as a browser on this machine does."""
    return app.test_client()


@dataclass(frozen=True)
class Server:
    """A running `offwake serve`."""

    process: subprocess.Popen[str]
    url: str


@contextmanager
def serving(*arguments: str, page: Page | None = None) -> Iterator[Server]:
    """Run `offwake serve` on a free port until the end of the block, and until a page of it has all that it asked for."""
    command = [sys.executable, "-m", "offwake", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("offwake: serving on http://"), line
        threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would stop it
        try:
            yield Server(process, line.split()[3])
            if page:
                page.wait_for_load_state("networkidle")
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def server(folder: Path) -> Iterator[Server]:
    """Serve the folder."""
    with serving(str(folder)) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing: the viewer is tested in a browser; `apt-get install chromium` brings it")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a window; whatever the browser complains about fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened, complaints = context.new_page(), list[str]()
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text))
    yield opened
    context.close()
    assert complaints == []
