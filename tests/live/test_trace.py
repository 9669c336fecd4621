"""Any tracepoint: as many events as a program caused, with their arguments and stacks; counts, numbers and pairs of them."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from offwake.web.app import create_app
from tests.live.harness import ask, offwake

YIELDS, SCHED_YIELD = 1009, 24  # of x86-64
YIELDER = f"""
import os
def give_way():
    for _ in range({YIELDS}):
        os.sched_yield()
print(os.getpid(), flush=True)
give_way()
os.execv("/bin/true", ["true"])
"""
PAIR = f"raw_syscalls:sys_enter:id=={SCHED_YIELD}..raw_syscalls:sys_exit:id=={SCHED_YIELD} by id+tid"


@pytest.fixture(scope="module")
def traced(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, int]]:
    """Return what records the yielder: the recording, and the yielder's process."""
    folder, done = tmp_path_factory.mktemp("traced"), dict[str, tuple[Path, int]]()

    def record(sources: str) -> tuple[Path, int]:
        if sources not in done:
            path = folder / f"{len(done)}.offwake"
            result = offwake("record", "-o", path, "--sources", sources, "--", sys.executable, "-c", YIELDER)
            assert result.returncode == 0, result.stderr
            done[sources] = path, int(result.stdout)
        return done[sources]

    return record


def rows_of(path: Path, of: str = "events") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ask("table", path, "--of", of, "--json")
    return rows


def test_what_fits_the_filter_is_there_with_its_arguments(traced: Callable[[str], tuple[Path, int]]) -> None:
    path, ours = traced(f"trace:raw_syscalls:sys_enter:stack:id=={SCHED_YIELD}")
    mine = [row for row in rows_of(path) if row["tid"] == ours]
    assert len(mine) == YIELDS
    assert {(row["event"], row["id"], row["pid"] == ours) for row in mine} == {("raw_syscalls:sys_enter", SCHED_YIELD, True)}
    counted = rows_of(path, "events:event+thread")
    assert [row["count"] for row in counted if row["thread"].endswith(f"({ours})")] == [YIELDS]
    found = ask("histogram", path, "--of", "events:id", "--pid", str(ours), "--json")
    (one,) = found["histograms"]
    assert (found["unit"], one["count"], one["min_ns"], one["max_ns"]) == ("", YIELDS, SCHED_YIELD, SCHED_YIELD)
    assert ask("heatmap", path, "--of", "events:id", "--pid", str(ours), "--json")["total"] == YIELDS
    assert ask("info", path, "--json")["complete"]


def test_stacks_are_weighted_by_how_often(traced: Callable[[str], tuple[Path, int]]) -> None:
    path, pid = traced(f"trace:raw_syscalls:sys_enter:stack:id=={SCHED_YIELD}")
    found = ask("folded", path, "--view", "events", "--pid", str(pid), "--json")
    assert (found["unit"], found["total"]) == ("events", YIELDS)
    (frames,) = {tuple(stack["frames"][-3:]) for stack in found["stacks"]}
    assert frames[-1] == "[raw_syscalls:sys_enter]"
    assert frames[-2].endswith("_[k]")
    assert f"{YIELDS:,} events" in offwake("flamegraph", path, "--view", "events", "--pid", str(pid)).stdout


def test_pairs_tell_the_time_between_two_tracepoints(traced: Callable[[str], tuple[Path, int]]) -> None:
    path, pid = traced(f"trace:{PAIR}")
    times = [row["time_ns"] for row in rows_of(path) if row["pid"] == pid]
    between = [end - begin for begin, end in zip(times[::2], times[1::2], strict=True)]
    (one,) = ask("histogram", path, "--of", "pairs", "--by", "id", "--pid", str(pid), "--json")["histograms"]
    assert (one["by"], one["count"]) == ({"id": str(SCHED_YIELD)}, YIELDS)
    assert (one["min_ns"], one["max_ns"]) == (min(between), max(between))
    assert ask("heatmap", path, "--of", "pairs", "--pid", str(pid), "--json")["total"] == YIELDS


def test_texts_that_lie_behind_the_fields_are_read(traced: Callable[[str], tuple[Path, int]]) -> None:
    path, _ = traced("trace:sched:sched_process_exec")
    assert {"/bin/true", sys.executable} <= {row["filename"] for row in rows_of(path)}
    assert {row["event"] for row in rows_of(path, "events:event")} == {"sched:sched_process_exec"}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("trace:irq:no_such", "in irq there are irq_handler_entry"),
        ("trace:nothing:no_such", "perf list tracepoint"),
        ("trace:irq", "GROUP:NAME"),
        ("trace:irq:softirq_entry:vec~3", "the kernel refuses 'vec~3' as a filter"),
        ("trace:irq:softirq_entry..irq:softirq_exit", "by FIELD"),
        ("trace:irq:softirq_entry..irq:softirq_exit by colour", "no field colour; there are cpu, tid, vec"),
        ("trace:irq:softirq_entry,trace:irq:softirq_entry:stack", "named twice"),
    ],
)
def test_what_cannot_be_traced_is_a_sentence(source: str, says: str, tmp_path: Path) -> None:
    result = offwake("record", "-o", tmp_path / "x.offwake", "--sources", source, "--duration", "0.1")
    assert result.returncode in (1, 2)
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_arguments_are_not_recorded_where_texts_are_left_out(tmp_path: Path) -> None:
    result = offwake("record", "--redact", "--sources", "trace:sched:sched_process_exec", "-o", tmp_path / "x", "--", "true")
    assert result.returncode == 2
    assert "--redact" in result.stderr and "trace:" in result.stderr


def test_a_flood_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    with subprocess.Popen(["dd", "if=/dev/zero", "of=/dev/null", "bs=1"], stderr=subprocess.DEVNULL) as flood:
        result = offwake("record", "-o", path, "--sources", "trace:raw_syscalls:sys_enter", "--duration", "1")
        flood.kill()
    assert result.returncode in (0, 3), result.stderr
    with TraceReader.open(path) as reader:
        events = [block for block in reader.blocks if block.kind == Kind.EVENTS]
        keyframe = next(reader.values(block) for block in reader.blocks if block.kind == Kind.KEYFRAME)
        footer = next(reader.values(block) for block in reversed(reader.blocks) if block.kind == Kind.FOOTER)
    assert keyframe and footer
    taken_out_ns = events[-1].end_ns - footer["ended_ns"]
    assert taken_out_ns < 20 * (footer["ended_ns"] - keyframe["began_ns"])  # what the rings held, on a CPU that others have


def test_the_host_has_no_more_mounts_than_before(tmp_path: Path) -> None:
    def mounted() -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in lines if " - tracefs " in line or " - debugfs " in line]

    before = mounted()
    result = offwake("record", "--sources", "trace:irq:softirq_entry", "-o", tmp_path / "x", "--duration", "0.2")
    assert result.returncode == 0, result.stderr
    assert mounted() == before


def test_bpftrace_counts_the_same(tmp_path: Path) -> None:
    """Both count the yields of the same seconds; bpftrace says when it is attached."""
    path = tmp_path / "x.offwake"
    program = f"""
BEGIN {{ printf("ready\\n"); }}
tracepoint:raw_syscalls:sys_enter /args->id == {SCHED_YIELD}/ {{ @[pid] = count(); }}"""
    mounted = 'mount -t tracefs none /sys/kernel/tracing && exec bpftrace -f json -e "$0"'
    command: list[str] = ["unshare", "--mount", "sh", "-c", mounted, program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        while "ready" not in other.stdout.readline():
            assert other.poll() is None
        source = f"trace:raw_syscalls:sys_enter:id=={SCHED_YIELD}"
        assert offwake("record", "-o", path, "--sources", source, "--", sys.executable, "-c", YIELDER).returncode == 0
        other.terminate()
        documents = [json.loads(line) for line in other.stdout.read().splitlines() if line.startswith("{")]
    theirs = next(document["data"]["@"] for document in documents if document["type"] == "map")
    ours = {row["pid"] for row in rows_of(path)}
    (pid,) = (pid for pid in ours if theirs.get(str(pid)) == YIELDS)
    assert sum(row["pid"] == pid for row in rows_of(path)) == YIELDS


def test_pages_show_what_was_traced(traced: Callable[[str], tuple[Path, int]]) -> None:
    path, _ = traced(f"trace:{PAIR}")
    pages = create_app([path]).test_client()
    (entry,) = set(re.findall(r"/recording/([^/\"]+)/", pages.get("/").text))
    for page in ("table/events", "table/events:id", "flame/events", "heatmap/pairs", "heatmap/events:id", "histogram/pairs"):
        answer = pages.get(f"/recording/{entry}/{page}")
        assert answer.status_code == 200, page
    assert pages.get(f"/recording/{entry}/table/events:colour").status_code == 400


def test_pages_lead_to_the_fields_of_what_was_traced(traced: Callable[[str], tuple[Path, int]]) -> None:
    path, _ = traced(f"trace:{PAIR}")
    pages = create_app([path]).test_client()
    (entry,) = set(re.findall(r"/recording/([^/\"]+)/", pages.get("/").text))
    first = pages.get(f"/recording/{entry}/flame/events").text
    listed = set(re.findall(rf'href="/recording/{entry}/(\w+/events:\w+)"', first))
    assert {"table/events:id", "heatmap/events:id", "table/events:args"} <= listed and "heatmap/events:args" not in listed
    for page in listed:
        assert pages.get(f"/recording/{entry}/{page}").status_code == 200, page
    for page in ("heatmap/events:id", "histogram/events:id"):
        text = pages.get(f"/recording/{entry}/{page}").text
        assert "count" in text
        assert "title=\"their stacks\"" not in text and " ns<" not in text, "numbers are no time, and choose no waits"
