"""Narrowed recordings: whose stacks are in them, and that what is in them is as true as of the whole machine."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.harness import OFFWAKE, Recorded, ask, events, offwake, wait_until
from tests.live.test_cgroups import group  # noqa: F401

MEMBER = 2  # in the flags of a switch: prev is one
STRANGERS = ["sh", "-c", "while sleep 0.004; do :; done"]
TARGET = 'read go; "$@" | cat'
"""Waits for a line; then everything that works is a child, or the child of one."""
EXEC_BY_A_THREAD = """
import os, threading, time
print(os.getpid(), flush=True)
caller = threading.Thread(target=os.execvp, args=("sh", ["sh", "-c", "sleep 0.2; sleep 0.2; sleep 0.2"]))
caller.start()
time.sleep(100)
"""
ANSWERS = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
asked, _ = listener.accept()
while question := asked.recv(1):
    asked.send(question)
"""
ASKS = """
import os, socket, sys
asking = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
for _ in range(20000):
    asking.send(b"?"), asking.recv(1)
print(os.getpid())
"""


@contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def record_narrowed(path: Path, workload: Path, narrowed: Callable[[int], list[str | Path]]) -> Recorded:
    """Record while a workload runs, narrowed to what `narrowed` makes of the process that starts it, beside strangers."""
    shell: list[str | Path] = ["sh", "-c", TARGET, "sh", workload]
    with (
        subprocess.Popen(STRANGERS, stdout=subprocess.DEVNULL, text=True) as strangers,
        ended(strangers),
        subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as target,
    ):
        part = path.with_name(f"{path.name}.part")
        arguments: list[str | Path] = ["record", "-o", path, "--sources", "sched", *narrowed(target.pid)]
        with subprocess.Popen([OFFWAKE, *arguments], stderr=subprocess.PIPE, text=True) as recorder:
            wait_until(lambda: recorder.poll() is not None or (part.exists() and part.stat().st_size > 0), "it records")
            said = target.communicate("go\n", timeout=60)[0]
            recorder.send_signal(signal.SIGINT)
            complaint = recorder.communicate(timeout=60)[1]
    assert recorder.returncode == 0, complaint
    return Recorded(path, json.loads(said))


@pytest.fixture(scope="module")
def by_process(workload: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    path = tmp_path_factory.mktemp("narrowed") / "process.offwake"
    return record_narrowed(path, workload("pipe_chain"), lambda pid: ["--pid", str(pid)])


def test_every_wait_of_the_processes_children_has_its_stack(by_process: Recorded) -> None:
    for thread in by_process.threads:
        mine = [event for event in events(by_process.path) if event.get("prev") == thread.tid and event["state"]]
        assert all(event["flags"] & MEMBER for event in mine)
        without = [event for event in mine if not event["flags"] & 1 and "stack" not in event and event["state"] < 0x10]
        assert not without
        assert len(mine) >= thread.waits - by_process.hidden_waits(thread)


def test_strangers_have_no_stacks_and_no_place_in_pictures(by_process: Recorded) -> None:
    switches = [event for event in events(by_process.path) if event["event"] == "sched_switch"]
    wakings = [event for event in events(by_process.path) if event["event"] == "sched_waking"]
    taken_up = {event["prev"] for event in switches if event["flags"] & MEMBER}
    while more := {event["waker"] for event in wakings if event["target"] in taken_up} - taken_up:
        taken_up |= more
    strangers = [event for event in switches if event["prev"] and event["prev"] not in taken_up and event["state"]]
    assert strangers and not [event for event in strangers if "stack" in event]
    shown = {stack["frames"][0] for stack in ask("folded", by_process.path, "--view", "off-cpu", "--json")["stacks"]}
    everything = {stack["frames"][0] for stack in by_process.stacks("off-cpu")}
    assert "sleep" in everything and "sleep" not in shown
    assert {thread.name for thread in by_process.threads} <= shown


def test_who_wakes_a_member_over_loopback_has_stacks(tmp_path: Path) -> None:
    """It does so out of a softirq that it runs itself: once the recorder knows the way through that."""
    path = tmp_path / "asked.offwake"
    answers = subprocess.Popen([sys.executable, "-c", ANSWERS], stdout=subprocess.PIPE, text=True)
    with answers, ended(answers):
        port = answers.stdout.readline().strip() if answers.stdout else ""
        ask_it = ["taskset", "-c", "0", sys.executable, "-c", ASKS, port]
        result = offwake("record", "-o", path, "--sources", "sched", "--pid", str(answers.pid), "--", *ask_it)
    assert result.returncode == 0, result.stderr
    stranger = int(result.stdout)
    waits = [event for event in events(path) if event.get("prev") == stranger and event["state"] == 1]
    assert sum("stack" in event for event in waits) > 1000


def test_info_says_what_the_recording_is_of(by_process: Recorded) -> None:
    info = ask("info", by_process.path, "--json")
    assert info["of"] == f"process {info['narrowed']['pids'][0]} and whoever woke them" and info["complete"]
    assert "process" in offwake("info", by_process.path).stdout


def test_without_wakers_nothing_of_strangers_is_kept(workload: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "alone.offwake"
    recorded = record_narrowed(path, workload("pipe_chain"), lambda pid: ["--pid", str(pid), "--no-wakers"])
    ours = {row["tid"] for row in ask("table", path, "--json")}
    assert {thread.tid for thread in recorded.threads} <= ours
    seen = {event[who] for event in events(path) for who in ("prev", "next", "target") if who in event} - {0}
    assert seen <= ours
    assert not [event for event in events(path) if event["event"] == "sched_waking" and "stack" in event]
    result = offwake("folded", path)
    assert result.returncode == 2 and "--no-wakers" in result.stderr
    result = offwake("summary", path)
    assert result.returncode == 0 and "waiting for" not in result.stdout


def test_a_thread_alone_is_recorded(workload: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "thread.offwake"
    record_narrowed(path, workload("pipe_chain"), lambda pid: ["--tid", str(pid)])
    members = {event["prev"] for event in events(path) if event.get("prev") and event["flags"] & MEMBER}
    assert len(members) <= 1, "children of a thread are not followed"


def test_a_cgroup_is_recorded_with_whoever_moves_into_it(
    workload: Callable[[str], Path],
    tmp_path: Path,
    group: Path,  # noqa: F811
) -> None:
    path = tmp_path / "cgroup.offwake"

    def narrowed(pid: int) -> list[str | Path]:
        (group / "cgroup.procs").write_text(str(pid))
        return ["--cgroup", group.parent]

    recorded = record_narrowed(path, workload("pipe_chain"), narrowed)
    members = {event["prev"] for event in events(path) if event.get("prev") and event["flags"] & MEMBER}
    assert {thread.tid for thread in recorded.threads} <= members


def test_a_process_that_moves_into_the_cgroup_is_a_member_from_then_on(tmp_path: Path, group: Path) -> None:  # noqa: F811
    path = tmp_path / "moved.offwake"
    part = path.with_name(f"{path.name}.part")
    with subprocess.Popen(["sh", "-c", "while sleep 0.01; do :; done"], text=True) as mover, ended(mover):
        arguments: list[str | Path] = ["record", "-o", path, "--sources", "sched", "--cgroup", group]
        with subprocess.Popen([OFFWAKE, *arguments], stderr=subprocess.PIPE, text=True) as recorder:
            wait_until(lambda: recorder.poll() is not None or (part.exists() and part.stat().st_size > 0), "it records")
            (group / "cgroup.procs").write_text(str(mover.pid))
            for _ in range(3):  # rounds of a second, in each of which it looks at the cgroup
                size, began = part.stat().st_size, time.monotonic()
                while recorder.poll() is None and (time.monotonic() - began < 1 or part.stat().st_size == size):
                    time.sleep(0.05)
            recorder.send_signal(signal.SIGINT)
            complaint = recorder.communicate(timeout=60)[1]
    assert recorder.returncode == 0, complaint
    members = {event["prev"] for event in events(path) if event.get("prev") and event["flags"] & MEMBER}
    assert mover.pid in members and len(members) > 1, "and its children"


def test_a_command_is_recorded_with_its_children_and_its_status_is_told(
    workload: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "command.offwake"
    result = offwake("record", "-o", path, "--command-only", "--", "sh", "-c", f"{workload('pipe_chain')}; exit 7")
    assert result.returncode == 7, result.stderr
    members = {event["prev"] for event in events(path) if event.get("prev") and event["flags"] & MEMBER}
    assert len(members) > 2


@pytest.mark.parametrize("user_stacks", ["auto", "fp"])
def test_a_member_stays_one_when_another_thread_than_its_first_runs_a_program(user_stacks: str, tmp_path: Path) -> None:
    path = tmp_path / "exec.offwake"
    narrowed = ["--command-only", "--sources", "sched", "--user-stacks", user_stacks]
    result = offwake("record", "-o", path, *narrowed, "--", sys.executable, "-c", EXEC_BY_A_THREAD)
    assert result.returncode == 0, result.stderr
    command = int(result.stdout)
    members = {event["prev"] for event in events(path) if event.get("prev") and event["flags"] & MEMBER}
    names = {row["tid"]: row["comm"] for row in ask("table", path, "--json")}
    assert {names[tid] for tid in members if tid in names} >= {"sh", "sleep"}
    assert names[command] == "sh"


def test_short_waits_have_no_wakers_stack_and_are_all_there(workload: Callable[[str], Path], tmp_path: Path) -> None:
    whole, short = tmp_path / "whole.offwake", tmp_path / "short.offwake"
    for path, options in ((whole, []), (short, ["--min-block-us", "1e6"])):
        result = offwake("record", "-o", path, "--sources", "sched", *options, "--", workload("pipe_chain"))
        assert result.returncode == 0, result.stderr
        recorded = Recorded(path, json.loads(result.stdout))
        tids = {thread.tid for thread in recorded.threads}
        wakings = [e for e in events(path) if e["event"] == "sched_waking" and {e["waker"], e["target"]} <= tids]
        with_stack = sum("stack" in event for event in wakings)
        assert len(wakings) > 100
        assert with_stack == len(wakings) if path == whole else with_stack < len(wakings) // 10
        switches = [event for event in events(path) if event["event"] == "sched_switch" and event["prev"] in tids]
        blocking = [event for event in switches if event["state"] and not event["flags"] & 1 and event["state"] < 0x10]
        assert blocking and all("stack" in event for event in blocking)


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--pid", "4194303"], 1, "--pid 4194303: there is no such process"),
        (["--pid", "0"], 2, "--pid 0: ids are numbers from 1 on"),
        (["--tid", "4194303"], 1, "--tid 4194303: there is no such thread"),
        (["--cgroup", "/no/such/group"], 1, "--cgroup /no/such/group: there is no such cgroup"),
        (["--command-only"], 2, "--command-only: there is no COMMAND"),
        (["--min-block-us", "-1"], 2, "--min-block-us -1: a wait lasts 0 µs or more"),
    ],
)
def test_what_cannot_be_narrowed_to_is_refused(tmp_path: Path, options: list[str], status: int, words: str) -> None:
    result = offwake("record", "-o", tmp_path / "x.offwake", *options)
    assert result.returncode == status and words in result.stderr
    assert not list(tmp_path.iterdir())
