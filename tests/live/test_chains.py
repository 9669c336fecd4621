"""Chain graphs of workloads whose true cause is known, and which measured how long it held everyone up."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest

from tests.live.harness import Recorded, record

Record = Callable[[str], Recorded]

TIMER, DISK = "[timer]", "disk"

CAUSES = [
    ("pipeline", "pipeline-a", "transmit", [("pipeline-b", "relay"), ("pipeline-c", "process")], TIMER),
    ("pipeline", "pipeline-b", "transmit", [("pipeline-c", "process")], TIMER),
    ("pipeline", "pipeline-d", "receive", [("pipeline-c", "process")], TIMER),
    ("request_chain", "chain-client", "request", [("chain-proxy", "relay"), ("chain-server", "serve")], DISK),
    ("request_chain", "chain-proxy", "request", [("chain-server", "serve")], DISK),
]
"""Workload, waiting worker, where it waits, who held it up in turn and in which function, and what the last waited for."""

CONVOY = ["convoy-1", "convoy-2", "convoy-3", "convoy-4"]

QUEUED = ("[run queue]", "[wake-up]", "[preempted]")
WORKING = (*QUEUED, "[on CPU]")

FILE_MIB, READ_TIMES = 256, 4


@dataclass(frozen=True)
class Chain:
    """One chain: where a thread waited; of each that held up the one before its stack, leaf first, and who it was.

    The last may have what it did meanwhile behind its name: `[on CPU]`, `[run queue]`, …
    """

    blocked: list[str]
    links: list[list[str]]
    value_ns: int

    @property
    def path(self) -> tuple[str, ...]:
        """Who held up whom, to the end. A request to a block device is just that: `disk`."""
        return tuple(DISK if is_request(link[-1]) else link[-1] for link in self.links)


def is_request(end: str) -> bool:
    """Whether a chain's end is a request to a block device, such as `[vda write 8 MiB, 4 ms]`."""
    return end == "[block device]" or bool(re.match(r"\[\w+ (read|write|flush)\b", end))


def chains(recorded: Recorded, worker: str, function: str) -> list[Chain]:
    """The chains of a worker that waits inside a function."""
    found = []
    for stack in recorded.stacks("chain"):
        links: list[list[str]] = [[]]
        for frame in stack["frames"]:
            if frame == "--":
                links.append([])
            else:
                links[-1].append(frame)
        if links[0][0] == worker and function in links[0]:
            found.append(Chain(links[0], links[1:], stack["value_ns"]))
    return found


def largest(found: list[Chain]) -> tuple[tuple[str, ...], int]:
    """The path on which most time was waited, and that time; queueing for a CPU may be the doing of anybody."""
    weights: Counter[tuple[str, ...]] = Counter()
    for chain in found:
        if chain.path[-1] not in QUEUED:
            weights[chain.path] += chain.value_ns
    return weights.most_common(1)[0]


def left_to_ksoftirqd_ns(found: list[Chain]) -> int:
    """What was waited for ends that a busy CPU left to ksoftirqd: which device they came from is not known."""
    return sum(chain.value_ns for chain in found if any("run_ksoftirqd_[k]" in link for link in chain.links))


def waited_ns(recorded: Recorded, view: str, worker: str, function: str) -> int:
    """What a view says of a worker's waits inside a function, all together."""
    return sum(
        stack["value_ns"]
        for stack in recorded.stacks(view)
        if stack["frames"][0] == worker and function in takewhile(lambda frame: frame != "--", stack["frames"])
    )


def agree(found_ns: float, measured_ns: float, not_comparable_ns: float) -> bool:
    return abs(found_ns - measured_ns) <= 0.03 * measured_ns + not_comparable_ns


@contextmanager
def loop_device(direct_io: str) -> Iterator[Path]:
    """A loop device over a file on the disk, nothing of which is in the page cache."""
    folder = Path(__file__).parents[2] / "build"
    folder.mkdir(exist_ok=True)
    with NamedTemporaryFile(dir=folder) as file:
        for _ in range(FILE_MIB):
            file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        losetup = ["losetup", "--find", "--show", f"--direct-io={direct_io}", file.name]
        device = subprocess.run(losetup, check=True, capture_output=True, text=True).stdout.strip()
        try:
            yield Path(device)
        finally:
            subprocess.run(["losetup", "--detach", device], check=True)


def read_with_fio(device: Path, path: Path, *how: str) -> tuple[Recorded, dict[str, Any]]:
    """Record fio while it reads the device; the recording, and what fio measured of itself."""
    common = [f"--filename={device}", f"--size={FILE_MIB}M", "--direct=1", "--ioengine=psync", "--output-format=json"]
    read = record(path, ["fio", "--name=reader", *common, *how])
    [job] = read.document["jobs"]
    return read, job


@pytest.mark.parametrize(("name", "worker", "function", "holders", "cause"), CAUSES)
def test_the_largest_chain_names_the_cause_and_how_long_it_took(
    recorded: Record, name: str, worker: str, function: str, holders: list[tuple[str, str]], cause: str
) -> None:
    found = chains(recorded(name), worker, function)
    path, found_ns = largest(found)
    assert path == (*(holder for holder, _ in holders), cause)
    for chain in found:
        if chain.path == path:
            assert all(where in link for (_, where), link in zip(holders, chain.links, strict=False))
    culprit = recorded(name).thread(holders[-1][0])
    # Who stands in a run queue does not wait for the next one yet, and that one may already sleep.
    late_ns = sum(recorded(name).thread(one).delay_ns for one in (worker, *(holder for holder, _ in holders[:-1])))
    assert agree(found_ns, culprit.asleep_ns, recorded(name).not_comparable_ns + left_to_ksoftirqd_ns(found) + late_ns)


@pytest.mark.parametrize("name", CONVOY)
def test_a_convoy_waits_for_the_sleeps_of_those_who_hold_the_lock(recorded: Record, name: str) -> None:
    convoy = recorded("convoy")
    found = chains(convoy, name, "want_lock")
    heaviest = max(found, key=lambda chain: chain.value_ns)
    *holders, cause = heaviest.path
    assert cause == TIMER
    assert set(holders) <= set(CONVOY) - {name}
    assert all("hold_lock" in link for link in heaviest.links[:-1])
    found_ns = sum(chain.value_ns for chain in found if chain.path[-1] == TIMER)
    asleep_ns = sum(convoy.thread(f"holder-{other[-1]}").asleep_ns for other in CONVOY if other != name)
    late_ns = convoy.thread(name).delay_ns  # when it stood in a run queue, and did not wait for the lock yet
    assert agree(found_ns, asleep_ns, convoy.not_comparable_ns + late_ns)


def test_a_reader_waits_for_its_loop_device_as_long_as_it_says(tmp_path: Path) -> None:
    with loop_device(direct_io="on") as device:
        read, job = read_with_fio(device, tmp_path / "direct.offwake", "--rw=read", "--bs=4M", f"--loops={READ_TIMES}")
    reading = "blkdev_read_iter_[k]"
    found = chains(read, "fio", reading)
    path, found_ns = largest(found)
    assert path == (DISK,)
    latency_ns = job["read"]["clat_ns"]["mean"] * job["read"]["total_ios"]
    cpu_ns = (job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] * 1_000_000
    queued_ns = waited_ns(read, "off-cpu", "fio", reading) - waited_ns(read, "off-wake", "fio", reading)
    unknown_ns = sum(row["unknown_ns"] for row in read.table("threads") if row["comm"] == "fio")
    assert agree(found_ns, latency_ns - cpu_ns - queued_ns, unknown_ns + left_to_ksoftirqd_ns(found))


def test_a_reader_waits_for_the_disk_through_the_worker_of_its_loop_device(tmp_path: Path) -> None:
    with loop_device(direct_io="off") as device:
        read, _ = read_with_fio(device, tmp_path / "buffered.offwake", "--rw=randread", "--bs=256k")
    found = chains(read, "fio", "blkdev_read_iter_[k]")
    heaviest = max((chain for chain in found if chain.path[-1] not in WORKING), key=lambda chain: chain.value_ns)
    assert heaviest.path[-1] == DISK
    assert device.name not in heaviest.links[-1][-1]  # it is the disk under the loop device …
    assert any("loop_process_work_[k]" in link for link in heaviest.links[:-1])  # … for which its worker waited
