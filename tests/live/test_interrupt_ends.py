"""Waits that a disk ended, joined to the very requests that completed there: held to the table of requests."""

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.live.harness import Recorded, Thread

Record = Callable[[str], Recorded]

WORKER = "sync-writer"
JOINED = re.compile(r"\[(?P<device>\S+) (?P<what>flush|[a-z ]+ \d+ [KMG]?i?B), (?P<service>\d+ (µs|ms|s))\]")
MILLISECOND = 1_000_000


@pytest.fixture
def ends(recorded: Record) -> Counter[str]:
    """What ended the worker's waits for its file, and how many of them."""
    found: Counter[str] = Counter()
    for stack in recorded("sync_writes").stacks("off-wake"):
        frames = stack["frames"]
        if frames[0] == WORKER and "sync_file" in frames[: frames.index("--")]:
            found[frames[-1]] += stack["count"]
    return found


def label(row: dict[str, Any]) -> str:
    """Name a request as a picture does: size and service time to a power of two."""
    size, exponent = "", round(math.log2(max(row["service_ns"], 1) / MILLISECOND))
    if row["operation"] != "flush" and row["bytes"]:
        power = round(math.log2(row["bytes"]))
        size = f" {2 ** (power % 10)} {('B', 'KiB', 'MiB', 'GiB')[power // 10]}"
    service = f"{2**exponent} ms" if exponent >= 0 else f"{round(1000 * 2.0**exponent)} µs"
    return f"[{row['device']} {row['operation']}{size}, {service}]"


def test_every_wait_that_the_disk_ended_is_joined(recorded: Record, ends: Counter[str]) -> None:
    assert "[block device]" not in ends
    from_interrupts = {end: count for end, count in ends.items() if end.startswith("[") and end != "[open]"}
    assert [end for end in from_interrupts if not JOINED.fullmatch(end)] == []
    thread: Thread = recorded("sync_writes").thread(WORKER)
    by_softirq_threads = sum(count for end, count in ends.items() if end.startswith("ksoftirqd/"))
    waits = sum(from_interrupts.values()) + by_softirq_threads
    assert waits >= thread.operations - recorded("sync_writes").hidden_waits(thread)


def test_each_is_joined_to_a_request_of_its_own(recorded: Record, ends: Counter[str]) -> None:
    """A thread waits for its own writes, and for flushes, which the kernel's threads issue."""
    rows = [row for row in recorded("sync_writes").table("block-io") if row["service_ns"] is not None]
    requests = Counter(label(row) for row in rows if row["comm"] == WORKER or row["operation"] == "flush")
    joined = Counter({end: count for end, count in ends.items() if JOINED.fullmatch(end)})
    assert joined
    assert joined - requests == Counter()
