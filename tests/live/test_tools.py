"""docs/tools.md: every command in it finds something in a recording in which everything happened, and so does its page."""

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from offwake.cli import main
from offwake.web.app import create_app
from tests.live.harness import record
from tests.live.networks import veth

TOOLS = Path(__file__).parents[2] / "docs" / "tools.md"
COMMANDS = ("table", "histogram", "heatmap", "flamegraph", "folded")
SOURCES = (
    *("sched", "on-cpu", "block", "tcp-rtt", "tcp-bytes", "tcp-drop", "tcp-stats", "net-stack", "dns", "syscalls"),
    *("time:u:c:getaddrinfo", "trace:block:block_rq_issue:stack", "trace:sched:sched_process_exec"),
    *("trace:signal:signal_generate", "trace:irq:softirq_entry..irq:softirq_exit by vec+cpu"),
    "trace:syscalls:sys_enter_openat",
)
FIELDS = {"table": "comm", "histogram": "bytes", "heatmap": "bytes", "pairs": "vec"}
"""What stands for FIELD: a word, a number, and what pairs have."""
ROUNDS, SIZE, EVERY, REFUSED = 31, 1009, 7, 3
EVERYTHING = """
import os, signal, socket, subprocess, sys, time
file, *exchange = sys.argv[1:]
socket.getaddrinfo("localhost", 80)
subprocess.run(exchange, check=True)
signal.signal(signal.SIGUSR1, lambda number, frame: None)
os.kill(os.getpid(), signal.SIGUSR1)
with open(file, "wb") as written:
    for _ in range(11):
        written.write(bytes(1 << 16))
        os.fsync(written.fileno())
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
busy = [subprocess.Popen([sys.executable, "-c", "for _ in range(3_000_000): pass"]) for _ in range(3)]
for process in busy:
    process.wait()
"""


def documented() -> list[str]:
    """Return the commands that the tables name, without the file that they are asked of."""
    rows = [line for line in TOOLS.read_text().splitlines() if line.startswith("|")]
    words = [word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[3])]
    return list(dict.fromkeys(word for word in words if word.split()[0] in COMMANDS and len(word.split()) > 1))


def with_fields(command: str) -> str:
    kind = "pairs" if "pairs" in command else command.split()[0]
    return command.replace("FIELD", FIELDS[kind]) if kind in FIELDS else command


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of all sources in which every one of them has something to tell."""
    path = tmp_path_factory.mktemp("everything") / "x.offwake"
    file = Path(__file__).parents[2] / "build" / "written"
    file.parent.mkdir(exist_ok=True)
    with veth() as network:
        network.lose(EVERY, SIZE)
        exchange = network.exchange(network.far_addresses[0], ROUNDS, SIZE, REFUSED)
        command = [sys.executable, "-c", EVERYTHING, file, *exchange]
        record(path, command, under=("ip", "netns", "exec", network.near), sources=",".join(SOURCES))
    return path


@pytest.fixture
def said(path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(command: str, *options: str) -> str:
        name, *words = command.split()
        assert main([name, str(path), *words, *options]) == 0
        return capsys.readouterr().out

    return run


def test_the_document_names_commands() -> None:
    assert len(documented()) > 50
    assert {command.split()[0] for command in documented()} == set(COMMANDS)


@pytest.mark.parametrize("command", documented())
def test_what_the_document_names_is_there(command: str, said: Callable[..., str], tmp_path: Path) -> None:
    command = with_fields(command).replace("OUT.svg", str(tmp_path / "out.svg"))
    kind = command.split()[0]
    text = said(command)
    if " -o " in command:
        text = (tmp_path / "out.svg").read_text()
    assert len(text.splitlines()) > 1
    if kind == "flamegraph":
        command = command.replace("flamegraph", "folded")
    command = command.partition(" -o ")[0]
    document = json.loads(said(command, "--json"))
    if kind == "table":
        assert document
        assert len(list(csv.DictReader(io.StringIO(said(command, "--csv"))))) == len(document)
    else:
        assert document["stacks"] if "stacks" in document else document["total"] > 0


def test_each_has_its_page(path: Path) -> None:
    pages = create_app([path]).test_client()
    (entry,) = set(re.findall(r"/recording/([^/\"]+)/", pages.get("/").text))
    of = {"table": "table", "histogram": "histogram", "heatmap": "heatmap", "flamegraph": "flame"}
    for command in map(with_fields, documented()):
        kind, _, name, *_ = command.split()
        if kind in of:
            answer = pages.get(f"/recording/{entry}/{of[kind]}/{name}")
            assert answer.status_code == 200, command
            assert "not recorded (source" not in answer.text, command
