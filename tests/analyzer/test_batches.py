"""Events that were sent together are read as if each had come alone; what of a batch is damaged is told, not guessed."""

import struct
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from offwake.analyzer import query
from offwake.analyzer.decode import LOST, Decoder, Rows
from offwake.analyzer.recording import Recording
from offwake.analyzer.stacks import StackTable
from offwake.format.layout import Kind
from tests.analyzer.recorded import ALL, recorded
from tests.analyzer.test_nonsense import blocks_of, write
from tests.encoding import Encoder, Record, batched
from tests.events import Event, Known, Lost, Other, Switch, Trace, WakeupNew, Waking
from tests.traces import write_trace
from tests.truth import PARTS

BEGAN = 1_000_000_000
HOUR_NS = 3_600_000_000_000
THREADS = [Known(5, 5, "five"), Known(6, 6, "six")]


def encoded(events: list[Event]) -> tuple[Decoder, list[Record]]:
    """Return the records of one CPU's ring, and a new reader for them."""
    encoder = Encoder(Trace(threads=THREADS, events=events, user_stacks=True))
    decoder = Decoder(encoder.keyframe(BEGAN), StackTable())
    return decoder, [record for event in events for record in encoder.encode(event) if record.ring == Kind.EVENTS]


def ping_pong(times_ns: list[int]) -> list[Event]:
    events: list[Event] = []
    for number, time_ns in enumerate(times_ns):
        events.append(Waking(time_ns, 0, waker=5, target=6, stack=("main", "wake_[k]")))
        events.append(Switch(time_ns + 1, 0, prev=5, next=6, state=1, stack=("main", f"wait{number % 3}", "wait_[k]")))
        events.append(Switch(time_ns + 2, 0, prev=6, next=5, state=0))
    return [*events, WakeupNew(times_ns[-1] + 3, 0, waker=5, target=7, tgid=7, comm="seven")]


def same(left: Rows, right: Rows) -> bool:
    return all(np.array_equal(getattr(left, column), getattr(right, column)) for column in ("time_ns", "stack", "payload"))


@pytest.mark.parametrize("step_ns", [10, HOUR_NS], ids=["soon", "hours later"])
def test_a_batch_holds_what_would_have_come_alone(step_ns: int) -> None:
    events = ping_pong([BEGAN + number * step_ns for number in range(100)])
    one, records = encoded(events)
    other, _ = encoded(events)
    together, alone = b"".join(batched(records)), b"".join(record.data for record in records)
    assert len(together) < len(alone)
    found, expected = one.decode(together, 0), other.decode(alone, 0)
    assert found.keys() == expected.keys()
    assert all(same(found[kind], expected[kind]) for kind in expected)
    assert {int(kind): len(rows) for kind, rows in found.items()} == {1: 200, 2: 100, 3: 1}
    assert (one.unreadable_bytes, one.last_ns) == (0, other.last_ns)


@pytest.mark.parametrize("seed", range(20))
def test_of_a_damaged_batch_what_comes_before_the_damage_is_read(seed: int) -> None:
    decoder, records = encoded(ping_pong([BEGAN + 10 * number for number in range(30)]))
    random = Random(seed)
    *others, last = batched(records)
    sizes, at = [], struct.calcsize("<IHHQQIIQ")
    while at < len(last):
        sizes.append(at + 4)
        at += 8 + struct.unpack_from("<I", last, at + 4)[0]
    which = random.randrange(len(sizes))
    damaged = bytearray(last)
    struct.pack_into("<I", damaged, sizes[which], random.choice([0, 7, 9, 15, 1 << 20, (1 << 32) - 1]))
    found = decoder.decode(b"".join([*others, bytes(damaged)]), 0)
    assert sum(map(len, found.values())) == len(records) - len(sizes) + which
    assert decoder.unreadable_bytes == len(last) - sizes[which] + 4


@pytest.mark.parametrize("words", [4, 5], ids=["not even a time", "a time alone"])
def test_a_batch_without_events_is_none(words: int) -> None:
    decoder, records = encoded(ping_pong([BEGAN]))
    [*_, last] = batched(records)
    empty = bytearray(last[: 8 * words])
    struct.pack_into("<H", empty, 6, len(empty))
    assert not decoder.decode(bytes(empty), 0)
    assert decoder.unreadable_bytes == 0


def test_a_gap_begins_where_events_may_still_have_waited() -> None:
    """What is sent alone comes before a batch that is older: of what was lost after it nobody knows since when."""
    waited, alone = Switch(BEGAN, 0, prev=5, next=6, state=1), Other(BEGAN + 20, 0, "tcp_send", {})
    decoder, records = encoded([waited, alone, Lost(BEGAN + 30, 0, 3)])
    rows = decoder.decode(b"".join(record.data for record in records), 0)[LOST]
    assert (rows.time_ns.tolist(), rows.payload["until_ns"].tolist()) == ([BEGAN], [BEGAN + 30])
    assert decoder.last_ns == {0: BEGAN}


def test_what_waited_while_its_cpu_was_offline_does_not_turn_back_the_time(tmp_path: Path) -> None:
    """Of CPU 1 only the last segment has anything: what happened there before the others' first segment ended."""
    switches = (200, 0), (400, 5), (500, 0), (800, 5)
    on_cpu_0 = [Switch(BEGAN + at, 0, prev=prev, next=5 - prev, state=0) for at, prev in switches]
    on_cpu_1 = [Switch(BEGAN + 50, 1, prev=0, next=5, state=0), Switch(BEGAN + 100, 1, prev=5, next=0, state=0)]
    events: list[Event] = [*on_cpu_0, *on_cpu_1]
    trace = Trace(cpus=2, threads=THREADS, events=events, user_stacks=True)
    path = write_trace(tmp_path / "came back", trace, [(BEGAN + 300, BEGAN + 1), (BEGAN + 700, BEGAN + 2)])
    blocks = [
        (replace(block, begin_ns=BEGAN + 700) if (block.kind, block.stream) == (Kind.EVENTS, 1) else block, content)
        for block, content in blocks_of(path)
    ]
    with Recording.open(write(path, blocks)) as recording:
        rows = query.table(recording, "threads", ALL).rows
    [row] = [row for row in rows if row["tid"] == 5]
    parts = [row[f"{part}_ns"] for part in PARTS]
    assert min(parts) >= 0 and sum(parts) == trace.ended_ns - trace.began_ns


def test_what_another_segment_is_later_than_is_not_taken_yet() -> None:
    """Of the second segment only CPU 0 has an event, of the third only CPU 1, and that is the earlier one."""
    events: list[Event] = [
        Switch(BEGAN + 200, 0, prev=0, next=5, state=0),
        Switch(BEGAN + 600, 0, prev=5, next=0, state=1),
        Switch(BEGAN + 500, 1, prev=0, next=6, state=0),
        Switch(BEGAN + 800, 1, prev=6, next=0, state=1),
    ]
    trace = Trace(cpus=2, threads=THREADS, events=events, user_stacks=True)
    with recorded(trace, [(BEGAN + 300, BEGAN + 300), (BEGAN + 700, BEGAN + 400)]) as recording:
        rows = query.table(recording, "threads", ALL).rows
    assert {row["tid"]: row["on_cpu_ns"] for row in rows} == {5: 400, 6: 300}
