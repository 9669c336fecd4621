"""Functions counted and timed: as often as a program counted itself, between what it measured inside and outside."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from offwake.recorder import patterns
from offwake.recorder.kernel.uprobes import has_kprobes
from offwake.recorder.programs.loading import load
from offwake.recorder.programs.program_text import Build
from offwake.recorder.sources import chosen_sources
from tests.live.harness import ask, offwake, recorder, wait_until

SOURCE = Path(__file__).parents[1] / "workloads" / "functions.c"


@pytest.fixture(scope="module")
def program(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("functions") / "counts-itself"
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", built, SOURCE], check=True)
    return built


@pytest.fixture(scope="module")
def recorded(program: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A recording in which the functions are both counted and timed, by their path and by name, and what was printed."""
    path = tmp_path_factory.mktemp("recording") / "x.offwake"
    part = path.with_name("x.offwake.part")
    sources = f"sched,count:u:{program}:counted_*,time:u:counts-itself:counted_*,count:t:irq:softirq_e*"
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        with recorder("-o", path, "--sources", sources) as recording:
            wait_until(lambda: part.exists() and part.stat().st_size > 0, "the recorder writes its first block")
            document = json.loads(process.communicate("go\n")[0])
            recording.send_signal(signal.SIGINT)
            said = recording.communicate(timeout=300)[1]
    assert recording.returncode == 0, said
    return path, document


def test_functions_are_called_as_often_as_they_say(recorded: tuple[Path, dict[str, Any]]) -> None:
    path, told = recorded
    rows = [row for row in ask("table", path, "--of", "function-counts", "--json") if row["where"].startswith("/")]
    assert {row["function"]: row["count"] for row in rows if row["total_ns"] is None} == told["calls"]
    assert {row["function"]: row["count"] for row in rows if row["total_ns"] is not None} == told["calls"]
    events = {source["name"].partition(":")[0]: source["events"] for source in ask("info", path, "--json")["sources"]}
    assert events["time"] == sum(told["calls"].values())
    assert ask("info", path, "--json")["complete"]


def test_they_take_as_long_as_was_measured(recorded: tuple[Path, dict[str, Any]]) -> None:
    path, told = recorded
    rows = ask("table", path, "--of", "function-counts", "--json")
    (slow,) = (row for row in rows if row["function"] == "counted_slow" and row["total_ns"] is not None)
    assert told["inside_ns"] <= slow["total_ns"] <= told["outside_ns"]
    assert slow["average_ns"] == slow["total_ns"] // slow["count"]
    assert 0 < slow["variance_ns2"] < slow["total_ns"] ** 2
    (deep,) = (row for row in rows if row["function"] == "counted_deep" and row["total_ns"] is not None)
    assert deep["total_ns"] > 0  # of a function that calls itself each call is timed


def test_waits_in_timed_functions_have_their_callers(recorded: tuple[Path, dict[str, Any]]) -> None:
    """On the stack is the kernel's trampoline in place of each return address, to hear of the return."""
    stacks = ask("folded", recorded[0], "--view", "off-cpu", "--state", "S", "--comm", "counts-itself", "--all", "--json")
    asleep = [stack["frames"] for stack in stacks["stacks"] if "usleep" in stack["frames"]]
    callers = {tuple(frames[: frames.index("usleep")]) for frames in asleep}
    of_main = next(iter(callers))[: next(iter(callers)).index("main") + 1]
    assert callers == {(*of_main, "counted_slow"), (*of_main, *["counted_deep"] * 7)}
    assert of_main[:2] == ("counts-itself", "_start")


def test_histograms_hold_the_calls_that_were_timed(recorded: tuple[Path, dict[str, Any]]) -> None:
    path, told = recorded
    found = ask("histogram", path, "--of", "functions", "--by", "function", "--json")["histograms"]
    assert {one["by"]["function"]: one["count"] for one in found} == told["calls"]
    (slow,) = (one for one in found if one["by"]["function"] == "counted_slow")
    rows = ask("table", path, "--of", "function-counts", "--json")
    (row,) = (row for row in rows if row["function"] == "counted_slow" and row["total_ns"] is not None)
    assert sum(low * count for low, _, count in slow["buckets"]) <= row["total_ns"]
    assert row["total_ns"] < sum(end * count for _, end, count in slow["buckets"])
    assert ask("heatmap", path, "--of", "functions", "--json")["total"] == sum(told["calls"].values())


def test_tracepoints_are_counted(recorded: tuple[Path, dict[str, Any]]) -> None:
    path, _ = recorded
    found = ask("table", path, "--of", "function-counts", "--json")
    rows = {row["function"]: row for row in found if row["where"] == "irq"}
    assert set(rows) == {"softirq_entry", "softirq_exit"}
    entries, exits = (rows[name]["count"] for name in ("softirq_entry", "softirq_exit"))
    assert abs(entries - exits) <= 0.1 * entries + 100  # they are attached, and detached, one after the other


def test_containers_of_one_image_are_not_counted_twice(tmp_path: Path) -> None:
    """Each shows the same file through an overlay of its own, as another device."""
    image, path = tmp_path / "image", tmp_path / "x.offwake"
    image.mkdir()
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-static"]
    subprocess.run(["gcc", *flags, "-o", image / "overlaid", SOURCE], check=True)
    with ExitStack() as stack:
        containers = [stack.enter_context(container(image, tmp_path / name)) for name in ("one", "other")]
        with recorder("-o", path, "--sources", "count:u:overlaid:counted_*") as recording:
            part = path.with_name(f"{path.name}.part")
            wait_until(lambda: part.exists() and part.stat().st_size > 0, "the recorder writes its first block")
            told = {process.pid: json.loads(process.communicate("go\n")[0])["calls"] for process in containers}
            recording.send_signal(signal.SIGINT)
            said = recording.communicate(timeout=300)[1]
    assert recording.returncode == 0, said
    for pid, calls in told.items():
        rows = ask("table", path, "--of", "function-counts", "--pid", str(pid), "--json")
        assert sorted((row["function"], row["count"]) for row in rows) == sorted(calls.items())


@contextmanager
def container(image: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the program of an image in a root of its own, until it waits for a line."""
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(parents=True)
    options = f"lowerdir={image},upperdir={folder}/upper,workdir={folder}/work"
    script = f"mount -t overlay overlay -o {options} {folder}/root && exec chroot {folder}/root /overlaid"
    command = ["unshare", "--mount", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("count:u:no-such-library:x", "nobody has such a file mapped"),
        ("count:u:c:no_such_function", "nothing fits it"),
        ("count:t:irq:no_such", "nothing fits it"),
        ("time:t:irq:softirq_entry", "a tracepoint takes no time"),
        ("count:t:no/group:x", "GROUP:NAME"),
    ],
)
def test_what_cannot_be_counted_is_a_sentence(source: str, says: str, tmp_path: Path) -> None:
    result = offwake("record", "-o", tmp_path / "x.offwake", "--sources", source, "--duration", "0.1")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert says in result.stderr


def test_the_kernels_functions_are_found_and_their_programs_accepted_also_without_kprobes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As far as a kernel without kprobes goes: it loads the programs, and refuses to attach them."""
    monkeypatch.setattr(patterns, "has_kprobes", lambda: True)
    sources = chosen_sources(["count:vfs_read*", "time:vfs_read*", "sched"])
    loaded = load(sources, Build(os.getpid()))
    try:
        loaded.attach()
        for source in sources[:2]:
            assert source.counting and ("vfs_read", "kernel") in source.counting.names
            assert source.in_kernel
            assert source.sites and {site.symbol for site in source.sites()} == {name for name, _ in source.counting.names}
            assert (source.name in loaded.unavailable) != has_kprobes()
            assert "its probes were refused" in loaded.unavailable.get(source.name, "its probes were refused")
        assert "sched" in {source.name for source in loaded.sources}
    finally:
        loaded.close()


def test_the_kernels_functions_are_counted_where_it_has_kprobes(tmp_path: Path) -> None:
    result = offwake("record", "-o", tmp_path / "x.offwake", "--sources", "count:vfs_read", "--", "cat", "/dev/null")
    if has_kprobes():
        assert result.returncode == 0, result.stderr
        rows = ask("table", tmp_path / "x.offwake", "--of", "function-counts", "--json")
        assert [row["function"] for row in rows] == ["vfs_read"]
    else:
        assert result.returncode == 1
        assert "this kernel has no kprobes" in result.stderr
