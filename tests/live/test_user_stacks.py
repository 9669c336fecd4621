"""User stacks are whole, however a program was built, and are those that gdb shows of the same threads."""

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from offwake.analyzer.intervals import UNKNOWN
from offwake.analyzer.recording import Recording
from offwake.analyzer.unwind import PYTHON_FRAME, End
from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from offwake.recorder.stacks.python import LAYOUTS
from tests.live.harness import offwake, wait_until

SOURCES = Path(__file__).parents[1] / "workloads"
C = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread"]
CPP = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-pthread"]
BUILDS = {
    "optimized": [*C, "-O2", "deep.c"],
    "with frame pointers": [*C, "-O2", "-fno-omit-frame-pointer", "deep.c"],
    "not optimized": [*C, "-O0", "deep.c"],
    "static": [*C, "-O2", "-static", "deep.c"],
    "static, position-independent": [*C, "-O2", "-static-pie", "deep.c"],
    "at a fixed address": [*C, "-O2", "-no-pie", "deep.c"],
    "with its tables in .debug_frame": [
        *C, "-O2", "-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "deep.c",
    ],
    "stripped": [*C, "-O2", "-s", "deep.c"],
    "C++": [*CPP, "-O2", "thrower.cpp"],
}  # fmt: skip
PYTHON = """
import json, threading, time
def doze(depth):
    if depth:
        return json.loads('{}', object_hook=lambda found: doze(depth - 1))
    time.sleep(0.02)
def calls_back():
    sorted([2, 1], key=lambda number: time.sleep(0.01) or number)
def for_ever(what):
    while True:
        what()
for what in (lambda: doze(10), calls_back):
    threading.Thread(target=for_ever, args=(what,), daemon=True).start()
print('ready', flush=True)
input()
"""
WHOLE_AT_LEAST = 0.99
CALLS = 11  # as in permutations.c
LOOKS = 20
SECONDS = 2

# Prints, as JSON, the program counters of every thread's frames, leaf first. Inlined functions and tail calls, which gdb
# shows where it has debugging information, are none: nothing of them is on the stack.
GDB = """
import gdb, json
found = {}
for thread in gdb.selected_inferior().threads():
    thread.switch()
    frame, counters = gdb.newest_frame(), []
    while frame is not None:
        if frame.type() in (gdb.NORMAL_FRAME, gdb.SIGTRAMP_FRAME):
            counters.append(frame.pc())
        try:
            frame = frame.older()
        except gdb.error:
            break
    found[thread.ptid[1]] = counters
print('frames:' + json.dumps(found))
"""


@dataclass(frozen=True)
class Wait:
    """The user part of a stack at which threads waited."""

    tid: int
    comm: str
    addresses: tuple[int, ...]
    end: End
    count: int


def waits(path: Path, tgids: set[int]) -> list[Wait]:
    """Every distinct user stack at which the processes' threads waited, with how often."""
    found: list[Wait] = []
    with Recording.open(path) as recording:
        replay = recording.replay()
        rows = np.concatenate([batch.activity.intervals for batch in replay])
        threads = replay.timeline.threads
        theirs = np.isin(threads["tgid"][rows["thread"]], list(tgids))
        rows = rows[theirs & (rows["kind"] != UNKNOWN) & (rows["stack"] >= 0)]
        columns = np.stack([rows["thread"], rows["stack"], rows["space"], rows["name"]])
        keys, counts = np.unique(columns, axis=1, return_counts=True)
        for (thread, stack, space, name), count in zip(keys.T.tolist(), counts.tolist(), strict=True):
            end = replay.naming.ended(stack, space)
            if end is not None:
                addresses = tuple(address for address in replay.stacks.addresses(stack) if address < PYTHON_FRAME)
                found.append(Wait(int(threads[thread]["tid"]), replay.naming.name(name), addresses, end, count))
    return found


def share_whole(found: list[Wait]) -> float:
    whole = sum(wait.count for wait in found if wait.end == End.WHOLE)
    return whole / sum(wait.count for wait in found)


def seen_by_gdb(pid: int, folder: Path) -> dict[int, tuple[int, ...]]:
    """The program counters of every thread, as gdb unwinds them."""
    script = folder / "frames.py"
    script.write_text(GDB)
    result = subprocess.run(
        ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-p", str(pid), "-x", script],
        capture_output=True,
        text=True,
        timeout=120,
    )
    [line] = [line for line in result.stdout.splitlines() if line.startswith("frames:")] or [result.stderr]
    return {int(tid): tuple(counters) for tid, counters in json.loads(line.removeprefix("frames:")).items()}


def gdb_frames(wait: Wait, of_gdb: tuple[int, ...]) -> tuple[int, ...]:
    """A wait's addresses as gdb counts them: it does not add one to where a signal interrupted."""
    return (
        tuple(
            counter if address == counter + 1 else address
            for address, counter in zip(wait.addresses, of_gdb, strict=False)
        )
        + wait.addresses[len(of_gdb) :]
    )


def must_be_gdbs(found: list[Wait], tids: set[int], pid: int, folder: Path) -> None:
    """Hold the waits of threads to what gdb shows of them now.

    A thread that gdb stopped while it ran, between two waits, is looked at again.
    """
    left = tids
    for _ in range(LOOKS):
        of_gdb = seen_by_gdb(pid, folder)
        left = {
            tid
            for tid in left
            if of_gdb[tid] not in {gdb_frames(wait, of_gdb[tid]) for wait in found if wait.tid == tid}
        }
        if not left:
            return
    raise AssertionError([(of_gdb[tid], [wait for wait in found if wait.tid == tid]) for tid in left])


@contextmanager
def running(command: list[str | Path], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that says `ready` and ends with its input; killed at the end."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def record_for(path: Path, *options: str) -> None:
    result = offwake("record", "-o", path, "--duration", str(SECONDS), "--sources", "sched", *options)
    assert result.returncode == 0, result.stderr
    assert "not recorded" not in result.stderr


@pytest.fixture(scope="module")
def built(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("built")

    def build(name: str) -> Path:
        *command, source = BUILDS[name]
        program = folder / name.replace(" ", "-").replace(",", "")
        subprocess.run([*command, "-o", program, SOURCES / source], check=True)
        return program

    return build


def test_stacks_of_the_same_words_in_other_places_are_told_apart(machine: None, tmp_path: Path) -> None:
    """Their ids are sums over words, and must not be the same."""
    program = tmp_path / "permutations"
    subprocess.run([*C, "-O2", "-o", program, SOURCES / "permutations.c"], check=True)
    result = offwake("record", "-o", tmp_path / "x.offwake", "--sources", "sched", "--", program)
    assert result.returncode == 0, result.stderr
    stacks = json.loads(offwake("folded", tmp_path / "x.offwake", "--view", "off-cpu", "--all", "--json").stdout)[
        "stacks"
    ]
    slept = [stack for stack in stacks if {"main", "next", "hrtimer_nanosleep_[k]"} <= set(stack["frames"])]
    orders = {tuple(frame for frame in stack["frames"] if frame in ("left", "right")) for stack in slept}
    waits_of_program = sum(stack["count"] for stack in slept)  # some sleeps are over before the thread can block
    assert len(orders) == waits_of_program > 0.8 * (1 << CALLS)
    assert {len(order) for order in orders} == {CALLS}


@pytest.mark.parametrize("build", BUILDS)
def test_stacks_are_whole_and_gdbs(build: str, built: Callable[[str], Path], tmp_path: Path) -> None:
    with running([built(build)], tmp_path) as process:
        record_for(tmp_path / "x.offwake")
        found = waits(tmp_path / "x.offwake", {process.pid})
        assert share_whole(found) >= WHOLE_AT_LEAST
        tids = {int(task.name) for task in Path(f"/proc/{process.pid}/task").iterdir()} - {process.pid}
        assert len(tids) >= 2 and tids <= {wait.tid for wait in found}  # the first waits for its input throughout
        must_be_gdbs(found, tids, process.pid, tmp_path)


def test_a_python_service_is_whole(machine: None, tmp_path: Path) -> None:
    with running([sys.executable, "-c", PYTHON], tmp_path) as process:
        record_for(tmp_path / "x.offwake")
        found = waits(tmp_path / "x.offwake", {process.pid})
        assert share_whole(found) >= WHOLE_AT_LEAST
        assert len({wait.tid for wait in found}) == 2
        must_be_gdbs(found, {wait.tid for wait in found}, process.pid, tmp_path)


def pythons() -> dict[int, str]:
    """An interpreter of each minor version from 3.11 on that is here; Debian 12 has 3.11 alone."""
    found = {sys.version_info[1]: sys.executable, 11: "/usr/bin/python3.11"}
    for python in sorted(Path("~/.pyenv/versions").expanduser().glob("3.1[1-9]*/bin/python3")):
        found[int(python.parts[-3].split(".")[1])] = str(python)
    return {minor: python for minor, python in found.items() if Path(python).exists()}


def functions_of(path: Path, process: subprocess.Popen[str]) -> list[list[str]]:
    """The functions of Python in each stack off the CPU, outermost first."""
    arguments = ["--view", "off-cpu", "--pid", str(process.pid), "--all", "--json"]
    stacks = json.loads(offwake("folded", path, *arguments).stdout)["stacks"]
    return [[frame.split(":")[2] for frame in stack["frames"] if frame.startswith("py::")] for stack in stacks]


def must_show_what_was_called(called: list[list[str]]) -> None:
    threads = ["Thread._bootstrap", "Thread._bootstrap_inner", "Thread.run", "for_ever"]
    assert [*threads, "calls_back", "calls_back.<locals>.<lambda>"] in called
    decoded = ["loads", "JSONDecoder.decode", "JSONDecoder.raw_decode", "doze.<locals>.<lambda>", "doze"]
    assert [*threads, "<lambda>", "doze", *10 * decoded] in called


@pytest.mark.parametrize("minor", sorted(LAYOUTS))
def test_python_functions_are_named_without_any_flag(minor: int, machine: None, tmp_path: Path) -> None:
    if minor not in pythons():
        pytest.skip(f"there is no Python 3.{minor} here, and Debian 12 has none")
    source = tmp_path / "service.py"
    source.write_text(PYTHON)
    with running([pythons()[minor], source], tmp_path) as process:
        record_for(tmp_path / "x.offwake")
    must_show_what_was_called(functions_of(tmp_path / "x.offwake", process))


def test_python_functions_are_named_through_perf_trampolines(machine: None, tmp_path: Path) -> None:
    """Also of a Python that was built without frame pointers, as most are."""
    source = tmp_path / "service.py"
    source.write_text(PYTHON)
    newer = {minor: python for minor, python in pythons().items() if minor >= 12}
    if not newer:
        pytest.skip("perf trampolines came with Python 3.12, and there is none here")
    with running([next(iter(newer.values())), "-X", "perf", source], tmp_path) as process:
        record_for(tmp_path / "x.offwake")
    perf_map = Path(f"/tmp/perf-{process.pid}.map")
    perf_map.unlink()
    assert share_whole(waits(tmp_path / "x.offwake", {process.pid})) >= WHOLE_AT_LEAST
    must_show_what_was_called(functions_of(tmp_path / "x.offwake", process))


def test_frame_pointers_alone_lose_the_callers(built: Callable[[str], Path], tmp_path: Path) -> None:
    """What whole stacks are beside: the C library keeps no frame pointers."""
    with running([built("with frame pointers")], tmp_path) as process:
        record_for(tmp_path / "fp.offwake", "--user-stacks", "fp")
    found = waits(tmp_path / "fp.offwake", {process.pid})
    assert share_whole(found) < 0.5
    assert {wait.end for wait in found} <= {End.WHOLE, End.NO_FRAME_POINTER}


def test_redis_is_whole(machine: None, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    server = ["redis-server", "--port", port, "--save", "", "--appendonly", "no"]
    with subprocess.Popen(server, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _pings(port), "redis answers")
            load = ["redis-benchmark", "-p", port, "-n", "20000", "-q", "-t", "set,get"]
            result = offwake("record", "-o", tmp_path / "x.offwake", "--sources", "sched", "--", *load)
            assert result.returncode == 0, result.stderr
        finally:
            process.kill()
    found = waits(tmp_path / "x.offwake", {process.pid})
    assert sum(wait.count for wait in found) > 100
    assert share_whole(found) >= WHOLE_AT_LEAST


def _pings(port: str) -> bool:
    answer = subprocess.run(["redis-cli", "-p", port, "ping"], capture_output=True, text=True)
    return answer.stdout == "PONG\n"


@pytest.fixture
def home_of_postgres() -> Iterator[Path]:
    """A folder that the user postgres can reach: pytest's own are root's alone."""
    with TemporaryDirectory(dir="/var/tmp") as folder:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        yield Path(folder)


def test_postgresql_is_whole(machine: None, home_of_postgres: Path) -> None:
    [binaries] = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
    folder = home_of_postgres
    environment = {**os.environ, "PGHOST": str(folder), "PGPORT": "54331", "PGUSER": "postgres"}

    def run(*command: str | Path) -> None:
        as_postgres: list[str | Path] = [
            "setpriv",
            "--reuid",
            "postgres",
            "--regid",
            "postgres",
            "--clear-groups",
            *command,
        ]
        subprocess.run(as_postgres, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL, timeout=120)

    run(binaries / "initdb", "--pgdata", "data", "--auth", "trust", "--no-sync")
    run(binaries / "pg_ctl", "--pgdata", "data", "-w", "-l", "log", "-o", f"-k {folder} -c listen_addresses=", "start")
    try:
        run(binaries / "pgbench", "--initialize", "--quiet", "--scale", "1", "postgres")
        load: list[str | Path] = [
            binaries / "pgbench",
            "--client",
            "4",
            "--transactions",
            "300",
            "--no-vacuum",
            "postgres",
        ]
        environment_of = ["env", *(f"{name}={environment[name]}" for name in ("PGHOST", "PGPORT", "PGUSER"))]
        result = offwake("record", "-o", folder / "x.offwake", "--sources", "sched", "--", *environment_of, *load)
        assert result.returncode == 0, result.stderr
        server = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    finally:
        run(binaries / "pg_ctl", "--pgdata", "data", "-m", "immediate", "stop")
    with Recording.open(folder / "x.offwake") as recording:
        replay = recording.replay()
        for _ in replay:
            pass
        processes = set(replay.timeline.threads["tgid"][: replay.timeline.thread_count].tolist())
        leaders = {tgid: replay.naming.name(replay.leader_name(tgid)) for tgid in processes}
        tgids = {tgid for tgid, name in leaders.items() if "postgres" in name}
    found = waits(folder / "x.offwake", tgids)
    assert server in tgids and sum(wait.count for wait in found) > 1000
    assert share_whole(found) >= WHOLE_AT_LEAST


def test_every_segment_can_be_unwound_alone(built: Callable[[str], Path], tmp_path: Path) -> None:
    """Words are sent again in each segment: one that is cut out has its own, but for the first moment."""
    with running([built("optimized")], tmp_path) as process:
        result = offwake("record", "-o", tmp_path / "x.offwake", "--duration", "14", "--sources", "sched")
        assert result.returncode == 0, result.stderr
    with TraceReader.open(tmp_path / "x.offwake") as reader:
        second = [block for block in reader.blocks if block.kind == Kind.KEYFRAME][1]
    (tmp_path / "second.offwake").write_bytes((tmp_path / "x.offwake").read_bytes()[second.offset :])
    found = waits(tmp_path / "second.offwake", {process.pid})
    assert sum(wait.count for wait in found) > 100
    assert share_whole(found) >= WHOLE_AT_LEAST


def test_a_program_that_is_gone_is_unwound(built: Callable[[str], Path], tmp_path: Path) -> None:
    """The file that it ran is gone too, before symbols and tables are collected."""
    program = tmp_path / "gone"
    program.write_bytes(built("optimized").read_bytes())
    program.chmod(0o755)
    recorder = subprocess.Popen(
        [Path(sys.prefix) / "bin" / "offwake", "record", "-o", tmp_path / "x.offwake", "--sources", "sched"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: _has_attached(tmp_path / "x.offwake.part"), "recording")
        with running([program], tmp_path) as process:
            wait_until(lambda: _holds(recorder.pid, program), "the recorder holds the program's file")
            time.sleep(0.5)
            program.unlink()
    finally:
        recorder.send_signal(signal.SIGINT)
        _, said = recorder.communicate(timeout=60)
    assert recorder.returncode == 0, said
    found = [wait for wait in waits(tmp_path / "x.offwake", {process.pid}) if wait.comm != "offwake"]
    assert share_whole(found) >= WHOLE_AT_LEAST


def test_a_container_s_program_is_unwound_and_named(built: Callable[[str], Path], tmp_path: Path) -> None:
    """What it runs is at a path that means something in its own mount namespace alone."""
    inside = f"mount -t tmpfs none /mnt && cp {built('optimized')} /mnt/contained && exec /mnt/contained"
    with running(["unshare", "--mount", "sh", "-c", inside], tmp_path) as process:
        assert not Path("/mnt/contained").exists()
        record_for(tmp_path / "x.offwake")
    assert share_whole(waits(tmp_path / "x.offwake", {process.pid})) >= WHOLE_AT_LEAST
    folded = offwake("folded", tmp_path / "x.offwake", "--view", "off-cpu", "--pid", str(process.pid), "--all").stdout
    assert ";for_ever;realigned;of_many_pages;of_any_size;recursive;" in folded


def _holds(pid: int, file: Path) -> bool:
    held = False
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            held |= descriptor.readlink() == file
    return held


def _has_attached(part: Path) -> bool:
    return part.exists() and part.stat().st_size > 0
