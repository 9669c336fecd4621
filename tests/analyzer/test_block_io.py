"""Block I/O requests as rows: what asked, for what, on which device, also where the kernel issues nothing for it itself."""

from typing import Any

from offwake.analyzer import query
from tests.analyzer.recorded import ALL, recorded
from tests.events import DEAD, IDLE, Event, Known, Other, Switch, Trace, WakeupNew

BEGAN_NS = 1_000_000_000
WRITTEN, ASKED, FLUSHED = 0xFFFF_8880_0000_1000, 0xFFFF_8880_0000_2000, 0xFFFF_8880_0000_3000
VDA = {"major": 254, "minor": 0}
WRITE, FLUSH = 1, 2
AGAIN = [
    Switch(BEGAN_NS + 450, 0, 7, IDLE, DEAD),
    WakeupNew(BEGAN_NS + 500, 0, 8, 7, 77, "other"),
    Switch(BEGAN_NS + 550, 0, IDLE, 7),
]
"""Thread 7 ends, and another process has its id."""


def event(at_ns: int, kind: str, request: int, **fields: int) -> Other:
    return Other(BEGAN_NS + at_ns, 0, kind, {"request": request, **fields})


def rows(*events: Event) -> list[dict[str, Any]]:
    threads = [Known(7, 7, "seven"), Known(8, 8, "kworker")]
    with recorded(Trace(began_ns=BEGAN_NS, threads=threads, events=[*events])) as opened:
        return query.table(opened, "block-io", ALL).rows


def test_a_write_has_its_queue_and_its_service() -> None:
    [row] = rows(
        event(100, "block_io_start", WRITTEN, tid=7, **VDA),
        event(150, "block_rq_issue", WRITTEN, tid=8, bytes=4096, command=WRITE, sector=77, **VDA),
        event(400, "block_rq_complete", WRITTEN, bytes=4096),
    )
    what = {"start_ns": 100, "comm": "seven", "pid": 7, "device": "vda", "operation": "write", "sector": 77, "bytes": 4096}
    assert row == what | {"queued_ns": 50, "service_ns": 250}


def test_who_asked_for_a_flush_is_there_with_its_device() -> None:
    by_kernel, asked = rows(
        event(100, "block_io_start", ASKED, tid=7, **VDA),
        event(120, "block_rq_issue", FLUSHED, tid=8, bytes=0, command=FLUSH, sector=0, **VDA),
        event(300, "block_rq_complete", FLUSHED, bytes=0),
        event(301, "block_rq_complete", ASKED, bytes=0),
    )
    both = {"device": "vda", "sector": None, "bytes": 0, "queued_ns": None}
    flush, preflush = both | {"operation": "flush", "service_ns": 180}, both | {"operation": "preflush", "service_ns": None}
    assert by_kernel == flush | {"start_ns": 120, "comm": "kworker", "pid": 8}
    assert asked == preflush | {"start_ns": 100, "comm": "seven", "pid": 7}


def test_a_request_is_that_of_the_thread_that_had_the_id_then() -> None:
    requests = [
        [
            event(at, "block_io_start", request, tid=7, **VDA),
            event(at + 10, "block_rq_issue", request, tid=7, bytes=4096, command=WRITE, sector=77, **VDA),
            event(at + 20, "block_rq_complete", request, bytes=4096),
        ]
        for at, request in ((100, WRITTEN), (600, ASKED))
    ]
    first, second = rows(*requests[0], *AGAIN, *requests[1])
    assert (first["comm"], first["pid"]) == ("seven", 7)
    assert (second["comm"], second["pid"]) == ("other", 77)


def test_of_a_completion_without_a_beginning_nothing_is_made_up() -> None:
    [row] = rows(event(300, "block_rq_complete", ASKED, bytes=0))
    assert {row[name] for name in ("comm", "device", "operation", "queued_ns", "service_ns")} == {None}
