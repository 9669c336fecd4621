"""biolatency as a second witness: `histogram --of block-io` counts the same requests in the same buckets."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import Recorded, ask, offwake, record
from tests.live.test_chains import loop_device

REQUESTS = 2003
SLACK_NS = 20_000
"""The two programs of a tracepoint run one after the other: a latency this close to an edge may lie on either side."""
INTERRUPTED = 0.01
"""So many of them may be further apart, because an interrupt or the hypervisor came between the two programs."""

ROW = re.compile(r"\s*(\d+) -> (\d+)\s+: (\d+)\s+\|")
Buckets = dict[tuple[int, int], int]


class Biolatency:
    """What a run of biolatency printed, by disk."""

    disks: dict[str, Buckets]


@contextmanager
def biolatency() -> Iterator[Biolatency]:
    """Run biolatency around a block, from when it is attached; afterwards its answer is complete."""
    seen = Biolatency()
    command = ["stdbuf", "-oL", "biolatency", "-D"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Tracing")
        try:
            yield seen
        finally:
            process.send_signal(signal.SIGINT)
            printed = process.stdout.read()
    seen.disks = histograms(printed, "disk")


def histograms(printed: str, field: str) -> dict[str, Buckets]:
    """Read histograms in text, by what stands above each."""
    found: dict[str, Buckets] = {}
    for part in re.split(rf"^{field} = ", printed, flags=re.MULTILINE)[1:]:
        name, _, rows = part.partition("\n")
        found[name.strip()] = {(int(low), int(high)): int(number) for low, high, number in ROW.findall(rows)}
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recorded, str, Buckets]:
    """Let fio read and write a disk of its own, under both tools: the recording, the disk, and biolatency's histogram."""
    path = tmp_path_factory.mktemp("histogram") / "fio.offwake"
    with loop_device(direct_io="on") as device:
        Path("/sys/block", device.name, "queue/nomerges").write_text("2")
        job = [f"--filename={device}", "--rw=randrw", "--bsrange=4k-256k", "--direct=1", "--ioengine=libaio"]
        amount = [f"--number_ios={REQUESTS}", "--iodepth=4", "--size=64M", "--io_size=10G", "--output-format=json"]
        with biolatency() as seen:
            recorded = record(path, ["fio", "--name=mixed", *job, *amount])
    return recorded, device.name, seen.disks[device.name]


def requests(recorded: Recorded, disk: str) -> list[dict[str, Any]]:
    return [row for row in recorded.table("block-io") if row["device"] == disk]


def test_every_bucket_holds_what_biolatency_counted(both: tuple[Recorded, str, Buckets]) -> None:
    recorded, disk, theirs = both
    result = offwake("histogram", recorded.path, "--of", "block-io", "--by", "device", "--unit", "usecs")
    ours = histograms(result.stdout, "device")[disk]
    assert sum(ours.values()) == sum(theirs.values())
    assert list(ours)[: len(theirs)] == list(theirs)[: len(ours)]
    latencies = [row["service_ns"] for row in requests(recorded, disk)]
    for _, high in theirs:
        edge_ns = (high + 1) * 1000
        doubtful = sum(abs(ns - edge_ns) <= SLACK_NS for ns in latencies) + INTERRUPTED * len(latencies)
        assert abs(below(ours, high) - below(theirs, high)) <= doubtful


def below(buckets: Buckets, high: int) -> int:
    return sum(number for (_, upper), number in buckets.items() if upper <= high)


def test_every_operation_holds_what_fio_counted(both: tuple[Recorded, str, Buckets]) -> None:
    """Some kernels hide from tracing what interrupts do while a thread of PID 1 is on the CPU: see Recorded.hidden_waits."""
    recorded, disk, _ = both
    [job] = recorded.document["jobs"]
    document = ask("histogram", recorded.path, "--of", "block-io", "--by", "device,operation", "--json")
    groups = {one["by"]["operation"]: one for one in document["histograms"] if one["by"]["device"] == disk}
    assert job["read"]["total_ios"] + job["write"]["total_ios"] == REQUESTS
    hidden = 0.01 * REQUESTS if ask("info", recorded.path, "--json")["missing_switches"] else 0
    assert groups.keys() == {"read", "write"}
    assert all(job[name]["total_ios"] - hidden <= one["count"] <= job[name]["total_ios"] for name, one in groups.items())
    for name, one in groups.items():
        rows = [row["service_ns"] for row in requests(recorded, disk) if row["operation"] == name]
        assert (one["min_ns"], one["max_ns"]) == (min(rows), max(rows))
        for low_ns, end_ns, number in one["buckets"]:
            assert number == sum(low_ns <= ns < end_ns for ns in rows)


def test_intervals_part_the_whole(both: tuple[Recorded, str, Buckets]) -> None:
    recorded, *_ = both
    whole = ask("histogram", recorded.path, "--of", "block-io", "--json")
    parts = ask("histogram", recorded.path, "--of", "block-io", "--interval", "0.05", "--json")
    assert len(parts["histograms"]) > 1
    assert sum(one["count"] for one in parts["histograms"]) == whole["total"] == parts["total"]
