"""perf as a second witness: it sees the same switches, and it loses nothing to a recorder beside it."""

import json
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.harness import OFFWAKE, Recorded, ask, events, with_tracefs

BUSIEST = 10
ROUND_TRIPS = 20_000


@dataclass(frozen=True)
class Switch:
    """One sched_switch on the CPU under test."""

    time_ns: int
    previous: int
    next: int


@dataclass(frozen=True)
class Behaviour:
    """What the threads of one CPU did, as one of the tools saw it."""

    switches: Counter[int]
    off_cpu_ns: dict[int, int]


def perf_output(*arguments: str | Path) -> str:
    """What perf says of one of its files, which it must find sound."""
    result = subprocess.run(["perf", *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "build-id" not in result.stderr  # "assertion failed at util/build-id.c"
    return result.stdout


def events_by_perf(path: Path, pattern: str) -> Iterator[tuple[int, re.Match[str]]]:
    """The events of a perf.data, in order of time, that match the pattern from their name on; nothing may be lost."""
    assert "LOST" not in perf_output("report", "--stats", "-i", path)
    timed = re.compile(rf"\[(?P<cpu>\d+)\] +(?P<seconds>\d+)\.(?P<nanoseconds>\d{{9}}): +sched:{pattern}")
    for line in perf_output("script", "--ns", "-F", "cpu,time,event,trace", "-i", path).splitlines():
        if found := timed.search(line):
            yield int(found["seconds"]) * 1_000_000_000 + int(found["nanoseconds"]), found


def switches_by_perf(path: Path) -> Iterator[Switch]:
    for time_ns, switch in events_by_perf(path, r"sched_switch: .* prev_pid=(?P<prev>\d+) .* next_pid=(?P<next>\d+) "):
        if switch["cpu"] == "000":
            yield Switch(time_ns, int(switch["prev"]), int(switch["next"]))


def blocked_by_perf(path: Path) -> Counter[int]:
    """Add up the time from each sleeping switch-out of a thread to its waking, by thread.

    A waking that comes before the switch-out leaves nothing to add: the thread is switched in without another.
    """
    switch = r"sched_switch: .* prev_pid=(?P<prev>\d+) .* prev_state=(?P<state>\S+) .* next_pid=(?P<next>\d+) "
    waking = r"sched_waking: .* pid=(?P<target>\d+) "
    blocked_ns: Counter[int] = Counter()
    asleep_since: dict[int, int] = {}
    for time_ns, event in events_by_perf(path, f"(?:{switch}|{waking})"):
        if event["target"]:
            target = int(event["target"])
            blocked_ns[target] += time_ns - asleep_since.pop(target, time_ns)
            continue
        asleep_since.pop(int(event["next"]), None)
        if event["state"][0] not in "RZX":
            asleep_since[int(event["prev"])] = time_ns
    return blocked_ns


def switches_by_offwake(path: Path) -> Iterator[Switch]:
    for event in events(path):
        if event["event"] == "sched_switch" and event["cpu"] == 0:
            yield Switch(event["time_ns"], event["prev"], event["next"])


def behaviour(switches: Iterator[Switch], begin_mark: int, end_mark: int) -> Behaviour:
    """Count switches and add up the time from each switch-out to the next switch-in, between two marker threads.

    The idle task is left out, and so are the threads of PID 1, which only the host's own work wakes.
    """
    counts: Counter[int] = Counter()
    off_cpu_ns: dict[int, int] = defaultdict(int)
    out_since: dict[int, int] = {}
    begun = False
    for switch in switches:
        begun = begun or switch.next == begin_mark
        if not begun:
            continue
        counts[switch.previous] += 1
        out_since[switch.previous] = switch.time_ns
        if switch.next in out_since:
            off_cpu_ns[switch.next] += switch.time_ns - out_since.pop(switch.next)
        if switch.next == end_mark:
            for tid in (0, *(int(task.name) for task in Path("/proc/1/task").iterdir())):
                counts.pop(tid, None)
                off_cpu_ns.pop(tid, None)
            return Behaviour(counts, off_cpu_ns)
    raise AssertionError(f"the end mark, thread {end_mark}, is not there")


@pytest.fixture(scope="module")
def both(workload: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Recorded, Path]:
    """The same run on CPU 0, recorded by both tools from CPU 1: offwake's recording and perf's data."""
    folder = tmp_path_factory.mktemp("both")
    path, perf_data = folder / "mixture.offwake", folder / "perf.data"
    recording: list[str | Path] = [OFFWAKE, "record", "-o", path, "--", "taskset", "-c", "0", workload("mixture")]
    perf = with_tracefs(*f"perf sched record -N -B -m 4096 -k CLOCK_MONOTONIC -o {perf_data} --".split(), *recording)
    result = subprocess.run(["taskset", "-c", "1", *perf], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    document = next(line for line in result.stdout.splitlines() if line.startswith("{"))
    return Recorded(path, json.loads(document)), perf_data


def test_perf_saw_the_same_switches_and_off_cpu_times(both: tuple[Recorded, Path]) -> None:
    recorded, perf_data = both
    assert ask("info", recorded.path, "--json")["lost"]["total"] == 0
    marks = recorded.thread("mark-begin").tid, recorded.thread("mark-end").tid
    ours = behaviour(switches_by_offwake(recorded.path), *marks)
    theirs = behaviour(switches_by_perf(perf_data), *marks)
    assert ours.switches == theirs.switches
    for tid, _count in theirs.switches.most_common(BUSIEST):
        assert ours.off_cpu_ns[tid] == pytest.approx(theirs.off_cpu_ns[tid], rel=0.01), tid


def test_perf_saw_the_off_cpu_times_of_the_threads_table(both: tuple[Recorded, Path]) -> None:
    recorded, perf_data = both
    marks = recorded.thread("mark-begin").tid, recorded.thread("mark-end").tid
    theirs = behaviour(switches_by_perf(perf_data), *marks)
    rows = {row["tid"]: row for row in recorded.table("threads")}
    workers = [thread for thread in recorded.threads if not thread.name.startswith("mark-")]
    for worker in workers:
        row = rows[worker.tid]
        off_cpu_ns = row["blocked_ns"] + row["run_queue_ns"] + row["preempted_ns"]
        tolerated_ns = 0.01 * theirs.off_cpu_ns[worker.tid] + row["unknown_ns"]
        assert abs(off_cpu_ns - theirs.off_cpu_ns[worker.tid]) <= tolerated_ns, worker.name
        assert row["switches"] == theirs.switches[worker.tid]


def test_perf_saw_the_blocked_times_of_the_threads_table(both: tuple[Recorded, Path]) -> None:
    recorded, perf_data = both
    theirs = blocked_by_perf(perf_data)
    rows = {row["tid"]: row for row in recorded.table("threads")}
    for worker in recorded.threads:
        if worker.name.startswith("mark-"):
            continue
        row = rows[worker.tid]
        tolerated_ns = 0.01 * theirs[worker.tid] + row["unknown_ns"]
        assert abs(row["blocked_ns"] - theirs[worker.tid]) <= tolerated_ns, worker.name


@pytest.mark.parametrize("beside_recorder", [False, True])
def test_perf_stores_every_switch_with_and_without_a_recorder(tmp_path: Path, beside_recorder: bool) -> None:
    perf_data = tmp_path / "perf.data"
    bench: list[str | Path] = ["taskset", "-c", "0", "perf", "bench", "sched", "pipe", "-l", str(ROUND_TRIPS)]
    recorder: list[str | Path] = [OFFWAKE, "record", "-o", tmp_path / "beside.offwake", "--"] if beside_recorder else []
    subprocess.run(
        with_tracefs(*f"perf record -N -B -e sched:sched_switch -a -m 4096 -o {perf_data} --".split(), *recorder, *bench),
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert len(perf_output("script", "-i", perf_data).splitlines()) >= 2 * ROUND_TRIPS
