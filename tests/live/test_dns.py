"""Look-ups of names: as many as a program made, as long as it measured, of any C library that runs, also in a container."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from offwake.recorder.kernel import uprobes
from offwake.recorder.programs.loading import load
from offwake.recorder.programs.program_text import Build
from offwake.recorder.sources import chosen_sources
from tests.live.harness import ask, offwake, recorder, wait_until

SOURCE = Path(__file__).parents[1] / "workloads" / "lookups.c"
LOOKUPS = 1009
LINKS = 3  # into each C library: for calls, for returns of getaddrinfo, and for the others'
FAILING = 11  # every hundredth, from the first on


@dataclass(frozen=True)
class Program:
    """A program that waits for a line, and how to run it."""

    command: tuple[str | Path, ...]

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout and process.stdout.readline() == "ready\n"
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="module")
def built(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Program]:
    """Build the workload with glibc, with musl, or with glibc in a root of its own, where its library is another file."""
    return cache(lambda kind: _built(kind, tmp_path_factory.mktemp(kind)))


@pytest.fixture(params=["glibc", "musl", "container"])
def program(request: pytest.FixtureRequest, built: Callable[[str], Program]) -> Program:
    return built(request.param)


def _built(kind: str, folder: Path) -> Program:
    program = folder / "lookups"
    compiler = "musl-gcc" if kind == "musl" else "gcc"
    subprocess.run([compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", program, SOURCE], check=True)
    if kind != "container":
        return Program((program, str(LOOKUPS)))
    for path in ("etc/resolv.conf", "etc/nsswitch.conf", "tmp/x"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).touch()
    libraries = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for word in {word for word in libraries.split() if word.startswith("/")}:
        (folder / word[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(word, folder / word[1:])
    mount = f"mount --bind {folder} {folder} && exec chroot {folder} /lookups {LOOKUPS}"
    return Program(("unshare", "--mount", "sh", "-c", mount))


def recorded(program: Program, path: Path, *options: str) -> dict[str, Any]:
    """Record the program from before its first look-up on; what it printed."""
    part = path.with_name(f"{path.name}.part")
    with program.started() as process:
        with recorder("-o", path, "--sources", "dns", *options) as recording:
            wait_until(lambda: part.exists() and part.stat().st_size > 0, "the recorder writes its first block")
            document: dict[str, Any] = json.loads(process.communicate("go\n")[0])
            recording.send_signal(signal.SIGINT)
            said = recording.communicate(timeout=300)[1]
        assert recording.returncode == 0, said
    return document | {"pid": process.pid}


def test_every_look_up_is_there_as_long_as_it_took(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    told = recorded(program, path)
    rows = ask("table", path, "--of", "dns", "--pid", str(told["pid"]), "--json")
    assert len(rows) == LOOKUPS
    assert [row["host"] for row in rows] == [f"{'host' if i % 100 else 'no'}{i}.planted-name.test" for i in range(LOOKUPS)]
    assert sum(row["failed"] for row in rows) == told["failed"] == FAILING
    assert {row["comm"] for row in rows} == {"lookups"}
    assert told["inside_ns"] <= sum(row["latency_ns"] for row in rows) <= told["outside_ns"]
    assert all(row["start_ns"] + row["latency_ns"] <= after["start_ns"] for row, after in zip(rows, rows[1:], strict=False))
    assert ask("info", path, "--json")["complete"]
    found = ask("histogram", path, "--of", "dns", "--by", "comm", "--pid", str(told["pid"]), "--json")
    assert [(one["by"], one["count"]) for one in found["histograms"]] == [({"comm": "lookups"}, LOOKUPS)]
    assert ask("heatmap", path, "--of", "dns", "--pid", str(told["pid"]), "--json")["total"] == LOOKUPS


def test_the_names_are_not_in_a_redacted_recording(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    told = recorded(program, path, "--redact")
    rows = ask("table", path, "--of", "dns", "--pid", str(told["pid"]), "--json")
    assert len(rows) == LOOKUPS
    assert {row["host"] for row in rows} == {None}
    with subprocess.Popen(["zstdcat", path], stdout=subprocess.PIPE) as process:
        assert process.stdout and b"planted-name" not in process.stdout.read()
    assert b"lookups" in subprocess.run(["zstdcat", path], capture_output=True).stdout


def test_a_container_that_starts_later_is_seen_too(built: Callable[[str], Program], tmp_path: Path) -> None:
    """Its C library is a file of its own, which nobody has mapped before."""
    path, program = tmp_path / "x.offwake", built("container")
    part = path.with_name(f"{path.name}.part")
    with recorder("-o", path, "--sources", "dns") as recording:
        wait_until(lambda: part.exists() and part.stat().st_size > 0, "the recorder writes its first block")
        before = links_of(recording.pid)
        with program.started() as process:
            wait_until(lambda: links_of(recording.pid) >= before + LINKS, "the recorder has probed what was mapped")
            told = json.loads(process.communicate("go\n")[0])
        recording.send_signal(signal.SIGINT)
        said = recording.communicate(timeout=300)[1]
        assert recording.returncode == 0, said
    assert len(ask("table", path, "--of", "dns", "--pid", str(process.pid), "--json")) == LOOKUPS
    assert told["failed"] == FAILING
    later = [one for one in ask("info", path, "--json")["probed"] if one["mapped_ns"] is not None]
    assert {one["source"] for one in later} == {"dns"}
    assert all(0 < one["mapped_ns"] < one["probed_ns"] for one in later)
    assert "libc.so.6 (dns; from " in offwake("info", path).stdout


def links_of(pid: int) -> int:
    """How many links to BPF programs a process holds."""
    found = 0
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):
            found += "link_type:" in path.read_text()
    return found


def test_gethostlatency_sees_the_same_look_ups(built: Callable[[str], Program], tmp_path: Path) -> None:
    """libbpf's looks at one C library, that of the host."""
    path, said = tmp_path / "x.offwake", tmp_path / "said"
    with said.open("w") as file, subprocess.Popen(["stdbuf", "-oL", "gethostlatency"], stdout=file) as other:
        wait_until(lambda: "HOST" in said.read_text(), "gethostlatency is attached")
        told = recorded(built("glibc"), path)
        wait_until(lambda: said.read_text().count(f" {told['pid']} ") >= LOOKUPS, "gethostlatency has printed")
        other.send_signal(signal.SIGINT)
    lines = [line.split() for line in said.read_text().splitlines() if line.split()[1] == str(told["pid"])]
    rows = ask("table", path, "--of", "dns", "--pid", str(told["pid"]), "--json")
    assert [line[4] for line in lines] == [row["host"] for row in rows]


def test_a_kernel_without_links_of_many_probes_has_one_probe_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uprobes, "has_links", lambda: False)
    loaded = load(chosen_sources(["dns"]), Build(os.getpid()))
    try:
        loaded.attach()
        before = loaded.tallies()
        subprocess.run(["getent", "hosts", "localhost"], check=True, stdout=subprocess.DEVNULL)
        kind = loaded.kinds["dns_lookup"]
        after = loaded.tallies()
        seen = sum(after[cpu][kind].attempted - before[cpu][kind].attempted for cpu in after)
        assert loaded.unavailable == {}
        assert seen >= 1
    finally:
        loaded.close()
