"""Builds of the programs that hold the recorder against itself: every event numbered, every stack walked."""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from struct import Struct

import numpy as np
import pytest

from offwake.analyzer.decode import Decoder
from offwake.analyzer.recording import Recording
from offwake.analyzer.stacks import StackTable
from offwake.analyzer.user_stacks import UserStacks
from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from offwake.format.records import RECORD_SAMPLE
from offwake.format.stacks import FOLLOWED, HEAD, KERNEL_ID, KERNEL_STACK_FLAG, USER_STACK_FLAG

PROGRAM_FRAMES = 2
INTERRUPT_ENTRIES = ("asm_common_interrupt", "asm_sysvec_")
KIND_AND_FLAGS = Struct("<HH")
PYTHON = """
import sys, time
def doze(depth):
    if depth:
        return sorted([depth], key=lambda depth: doze(depth - 1) or depth)
    time.sleep(0.0005)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    doze(int(1000 * time.monotonic()) % 7)
"""
TAKE_TURNS_BY_TCP = """
import os, socket
listener = socket.create_server(("127.0.0.1", 0))
child = os.fork()
connection = socket.create_connection(listener.getsockname()) if child else listener.accept()[0]
for _ in range(20000):
    if child:
        connection.send(b"?")
    connection.recv(1)
    if not child:
        connection.send(b"!")
"""
RECORD = """
import sys
from pathlib import Path
from offwake.recorder.options import Options
from offwake.recorder.programs import loading
from offwake.recorder.session import record
from offwake.recorder.sources import chosen_sources
build, casts, buffer_bytes, path, *command = sys.argv[1:]
if not int(casts):
    loading.cast_numbers = lambda btf: {}
options = Options(Path(path), chosen_sources(["sched", "block", "tcp"]), buffer_bytes=int(buffer_bytes), command=command,
                  **{build: True})
result = record(options, lambda progress: None)
sys.exit(result.command_status)
"""


def record_as(build: str, path: Path, command: list[str | Path], buffer_mb: int = 64, casts: bool = True) -> None:
    arguments = [sys.executable, "-c", RECORD, build, str(int(casts)), str(buffer_mb << 20), path, *command]
    subprocess.run(arguments, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of numbered events, whose recorder stood still while far more happened than its rings hold."""
    path = tmp_path_factory.mktemp("builds") / "numbered.offwake"
    bench = "taskset -c 0 perf bench sched pipe -l 20000 >/dev/null"
    record_as("numbered", path, ["sh", "-c", f"{bench}; kill -STOP $PPID; {bench}; kill -CONT $PPID; {bench}"], buffer_mb=1)
    return path


def test_every_event_is_in_the_file_or_counted_as_lost(numbered: Path) -> None:
    numbers: dict[tuple[int, int], list[int]] = defaultdict(list)
    with Recording.open(numbered) as recording:
        decoder = Decoder(recording.keyframe, StackTable())
        for block in recording.reader.blocks:
            if block.kind == Kind.EVENTS and (span := recording.reader.payload(block)) is not None:
                for kind, rows in decoder.decode(span, block.stream).items():
                    if "number" in (rows.payload.dtype.names or ()):
                        numbers[block.stream, kind] += rows.payload["number"].tolist()
        counters = recording.last_tick["counters"]
    numbered_kinds = [kind for kind, layout in decoder.layouts.items() if "number" in (layout.dtype.names or ())]
    assert len(numbered_kinds) > 10
    lost = 0
    for cpu, kinds in counters.items():
        for kind in numbered_kinds:
            attempted, stored, *failures = kinds[kind]
            seen = numbers[cpu, kind]
            assert seen == sorted(set(seen)), "each once, in its order"
            assert not seen or seen[-1] < attempted
            assert (len(seen), attempted - len(seen)) == (stored, sum(failures))
            lost += sum(failures)
    assert lost > 0, "nothing was lost: the test shows little"


@dataclass(frozen=True)
class Walked:
    """An event of which the kernel walked its stack: that, and what follows the payload."""

    time_ns: int
    flags: int
    chain: tuple[int, ...]
    follows: bytes


def walked_events(path: Path) -> Iterator[Walked]:
    with TraceReader.open(path) as reader:
        keyframe = next(reader.values(block) for block in reader.blocks if block.kind == Kind.KEYFRAME)
        assert keyframe
        sizes = {kind["id"]: kind["size"] for kind in keyframe["kinds"]}
        walked = {event["id"] for event in keyframe["events"] if event["name"] == "kernel-stack"}
        for block in reader.blocks:
            if block.kind != Kind.EVENTS or (span := reader.payload(block)) is None:
                continue
            words, octets, at = np.frombuffer(span, np.uint64), memoryview(span), 0
            while at < len(words):
                size = int(words[at] >> np.uint64(48)) // 8
                if words[at] & np.uint64(0xFFFFFFFF) == RECORD_SAMPLE and int(words[at + 1]) in walked:
                    count = int(words[at + 3])
                    raw = 8 * (at + 4 + count) + 4
                    kind, flags = KIND_AND_FLAGS.unpack_from(octets, raw)
                    chain = tuple(words[at + 5 + PROGRAM_FRAMES : at + 4 + count].tolist())
                    yield Walked(int(words[at + 2]), flags, chain, span[raw + sizes[kind] : 8 * (at + size)])
                at += size


@cache
def interrupt_entries() -> list[range]:
    """Where the kernel's entries of interrupts lie."""
    lines = [line.split() for line in Path("/proc/kallsyms").read_text().splitlines()]
    starts = sorted((int(address, 16), name) for address, kind, name, *_ in lines if kind in "tT")
    return [range(at, end) for (at, name), (end, _) in pairwise(starts) if name.startswith(INTERRUPT_ENTRIES)]


def without_what_was_interrupted(chain: tuple[int, ...]) -> tuple[int, ...]:
    entries = interrupt_entries()
    ends = (index + 1 for index, address in enumerate(chain) if any(address in entry for entry in entries))
    return chain[: next(ends, len(chain))]


@pytest.mark.parametrize(
    ("load", "percent_named", "casts"),
    [
        ("pipe", 25, True),
        ("tcp_turns", 60, True),
        ("tcp_turns", 60, False),
        ("tcp_echo", 25, True),
        ("sync_writes", 25, True),
        ("lock", 25, True),
    ],
)
def test_an_id_stands_for_one_chain_as_the_kernel_walks_it(
    load: str, percent_named: int, casts: bool, workload: Callable[[str], Path], tmp_path: Path
) -> None:
    """A waking over TCP comes out of a softirq, on another stack than the sender's: one of two events of those turns.
    Kernels before 6.2 have no casts."""
    path = tmp_path / "walked.offwake"
    on_one_cpu: dict[str, list[str | Path]] = {
        "pipe": ["perf", "bench", "sched", "pipe", "-l", "30000"],
        "tcp_turns": [sys.executable, "-c", TAKE_TURNS_BY_TCP],
    }
    if load in on_one_cpu:
        record_as("walked", path, ["taskset", "-c", "0", *on_one_cpu[load]], casts=casts)
    else:
        record_as("walked", path, [workload(load), *[tmp_path / "written"] * (load == "sync_writes")])
    chains: dict[int, set[tuple[int, ...]]] = defaultdict(set)
    events = named = 0
    for event in walked_events(path):
        if event.flags & KERNEL_STACK_FLAG:
            events += 1
            [its_id] = KERNEL_ID.unpack_from(event.follows)
            if its_id:
                chains[its_id].add(without_what_was_interrupted(event.chain))
                named += 1
    assert all(len(its_chains) == 1 for its_chains in chains.values())
    assert len({chain for its_chains in chains.values() for chain in its_chains}) == len(chains), "and a chain has one id"
    assert events > 100 and named > events * percent_named // 100


def unwound(path: Path) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Yield the id, the flags and the call chain of every event's user stack, each unwound on its own."""
    stacks = UserStacks()
    found: list[tuple[int, int, int, int, int]] = []
    for event in walked_events(path):
        if event.flags & USER_STACK_FLAG:
            head = event.follows[KERNEL_ID.size :]
            its_id, tgid, words, flags = HEAD.unpack_from(head)
            octets = HEAD.pack(len(found), tgid, words, flags) + head[HEAD.size :]
            [number] = stacks.take(np.frombuffer(octets, np.uint8), np.array([0]), np.array([len(octets)]))
            found.append((number, its_id, flags, tgid, event.time_ns))
    with Recording.open(path) as recording:
        replay = recording.replay()
        for _ in replay:
            pass
        for number, its_id, flags, tgid, time_ns in found:
            space = replay.whole.space_at(tgid, time_ns)
            addresses, _, _ = replay.whole.unwinder.unwind(stacks, np.array([number], np.int32), space)
            yield its_id, flags, tuple(addresses.tolist())


@pytest.mark.parametrize("load", ["deep", "python"])
def test_an_id_of_a_user_stack_stands_for_one_chain_as_it_is_unwound(
    load: str, workload: Callable[[str], Path], tmp_path: Path
) -> None:
    commands = {
        "deep": ["sh", "-c", f"sleep {{0}} | timeout {{0}} {workload('deep')}; true"],
        "python": ["/usr/bin/python3", "-c", PYTHON, "{0}"],
    }
    chains: dict[int, set[tuple[int, ...]]] = defaultdict(set)
    followed = 0
    for seconds in (2, 4, 8, 16, 32):  # until the recorder has learned the way
        path = tmp_path / f"{seconds}.offwake"
        record_as("walked", path, [word.format(seconds) for word in commands[load]])
        for its_id, flags, chain in unwound(path):
            chains[its_id].add(chain)
            followed += bool(flags & FOLLOWED)
        if followed > 100:
            break
    assert all(len(its_chains) == 1 for its_chains in chains.values())
    assert followed > 100
