"""`block-io`: every block I/O request, matched from queueing to completion by the kernel's request pointer."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled
from offwake.analyzer.completions import FLUSH, OPERATION_BITS
from offwake.analyzer.completions import OPERATIONS as ISSUED
from offwake.analyzer.decode import Rows
from offwake.analyzer.gathered import is_selected
from offwake.analyzer.replay import Replay
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table

__all__ = ["NONE", "OPERATIONS", "Requests", "device_name", "requests", "table"]

COLUMNS = (
    Column("start_ns", "ns"),
    Column("comm", "text"),
    Column("pid", "id"),
    Column("device", "text"),
    Column("operation", "text"),
    Column("sector", "count"),
    Column("bytes", "bytes"),
    Column("queued_ns", "ns"),
    Column("service_ns", "ns"),
)

MINOR_BITS = 20  # include/linux/kdev_t.h

# The steps of a request, in the order in which they are taken when the clock says the same.
STEPS = ("block_io_start", "block_rq_insert", "block_rq_issue", "block_rq_requeue", "block_rq_complete")
START, INSERT, ISSUE, REQUEUE, COMPLETE = range(len(STEPS))
NONE = -1
PREFLUSH = OPERATION_BITS + 1  # REQ_PREFLUSH and nothing to write, include/linux/blk_types.h
OPERATIONS = ISSUED | {PREFLUSH: "preflush"}
MATCHED = ("block_io_start", "block_rq_insert", "block_rq_issue", "block_rq_complete")


@dataclass(frozen=True)
class Requests:
    """Completed requests in the order of completion: int64 columns of one length, NONE for what is not known.

    Times are CLOCK_MONOTONIC. `thread` is the starter's place in the thread table, `device` the kernel's dev_t.
    """

    began_ns: NDArray[np.int64]
    completed_ns: NDArray[np.int64]
    queued_ns: NDArray[np.int64]
    service_ns: NDArray[np.int64]
    thread: NDArray[np.int64]
    device: NDArray[np.int64]
    operation: NDArray[np.int64]
    sector: NDArray[np.int64]
    bytes: NDArray[np.int64]

    def where(self, which: NDArray[np.bool_]) -> "Requests":
        """Return some of the requests."""
        return Requests(*(getattr(self, column.name)[which] for column in fields(self)))


class _Steps:
    """All steps of all requests, gathered from a replay."""

    def __init__(self, replay: Replay) -> None:
        parts: dict[str, list[Rows]] = {step: [] for step in STEPS}
        for batch in replay:
            for step in STEPS:
                if len(batch.events.get(step, ())):
                    parts[step].append(batch.events[step])
        self.rows = {step: Rows.joined(found) for step, found in parts.items() if found}
        steps = [(number, self.rows[step]) for number, step in enumerate(STEPS) if step in self.rows]
        empty = np.empty(0, np.int64)
        self.step = np.concatenate([empty, *(np.full(len(rows), number) for number, rows in steps)]).astype(np.int64)
        self.place = np.concatenate([empty, *(np.arange(len(rows)) for _, rows in steps)]).astype(np.int64)
        self.time_ns = np.concatenate([empty, *(rows.time_ns for _, rows in steps)])
        self.request = np.concatenate([empty, *(rows.payload["request"].astype(np.int64) for _, rows in steps)])
        self.order = np.lexsort((self.step, self.time_ns, self.request))

    def completions(self) -> NDArray[np.int64]:
        """Return a row a completion: the places of its start, insert, issue and completion, NONE where there was none."""
        found = np.full((len(self.rows.get("block_rq_complete", ())), 4), NONE, np.int64)
        issued = self.rows.get("block_rq_issue")
        sizes = issued.payload["bytes"].astype(np.int64) if issued else np.empty(0, np.int64)
        done = self.rows.get("block_rq_complete")
        parts = done.payload["bytes"].astype(np.int64) if done else np.empty(0, np.int64)
        _match(self.request[self.order], self.step[self.order], self.place[self.order], (sizes, parts), found)
        return found[np.argsort(self._of("block_rq_complete", "time_ns", found[:, 3]), kind="stable")]

    def requests(self, replay: Replay) -> Requests:
        """Return what is known of each completion."""
        places = self.completions()
        started, inserted, issued, completed = (
            self._of(step, "time_ns", places[:, at]) for at, step in enumerate(MATCHED)
        )
        began = np.where(started != NONE, started, np.where(inserted != NONE, inserted, issued))
        tid = np.full(len(places), NONE)
        for at, step in reversed(list(enumerate(MATCHED[:3]))):  # the earliest step speaks
            tid = np.where(places[:, at] != NONE, self._of(step, "tid", places[:, at]), tid)
        about = {
            name: self._of("block_rq_issue", name, places[:, 2]) for name in ("major", "minor", "command", "sector")
        }
        for name in ("major", "minor"):
            about[name] = np.where(issued == NONE, self._of("block_io_start", name, places[:, 0]), about[name])
        size = self._of("block_rq_complete", "bytes", places[:, 3])
        operation = np.where(issued == NONE, NONE, about["command"] & OPERATION_BITS)
        operation[(issued == NONE) & (started != NONE) & (size == 0)] = PREFLUSH
        return Requests(
            began_ns=np.where(began != NONE, began, completed),
            completed_ns=completed,
            queued_ns=np.where((issued == NONE) | (began == issued), NONE, issued - began),
            service_ns=np.where(issued == NONE, NONE, completed - issued),
            thread=replay.timeline.places(tid, np.where(began != NONE, began, completed)).astype(np.int64),
            device=np.where(about["major"] == NONE, NONE, (about["major"] << MINOR_BITS) | about["minor"]),
            operation=operation,
            sector=np.where(operation == FLUSH, NONE, about["sector"]),
            bytes=size,
        )

    def _of(self, step: str, column: str, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a column of a step's rows at these places, NONE where there is no such step, or no such column."""
        rows = self.rows.get(step)
        if rows is None or column not in ("time_ns", *(rows.payload.dtype.names or ())):
            return np.full(len(places), NONE)
        values = rows.time_ns if column == "time_ns" else rows.payload[column].astype(np.int64)
        return np.where(places == NONE, NONE, values[places])


@compiled
def _match(
    requests: NDArray[np.int64],
    steps: NDArray[np.int64],
    places: NDArray[np.int64],
    sizes: tuple[NDArray[np.int64], NDArray[np.int64]],
    found: NDArray[np.int64],
) -> None:
    """Follow each request's steps in time. A completion of part of a request leaves the rest issued."""
    issued_bytes, completed_bytes = sizes
    start, insert, issue, left, count = NONE, NONE, NONE, 0, 0
    for index in range(len(requests)):
        if index and requests[index] != requests[index - 1]:
            start, insert, issue, left = NONE, NONE, NONE, 0
        step, place = steps[index], places[index]
        if step == START:
            start, insert, issue = place, NONE, NONE
        elif step == INSERT:
            insert, issue = place, NONE
        elif step == ISSUE:
            issue, left = place, issued_bytes[place]
        elif step == REQUEUE:
            issue = NONE
        else:
            found[count, 0], found[count, 1], found[count, 2], found[count, 3] = start, insert, issue, place
            count += 1
            left -= completed_bytes[place]
            if left <= 0:
                start, insert, issue = NONE, NONE, NONE


def requests(scope: Scope) -> Requests:
    """Return the requests that selected threads started and that completed in the selected time.

    `min_ns` and `max_ns` bound the service time. The states of waits say nothing about requests and restrict nothing.
    """
    replay, selection = scope.replay, scope.selection
    found = _Steps(replay).requests(replay)
    threads, which = np.unique(found.thread, return_inverse=True)
    chosen = np.array([is_selected(place, scope) for place in threads.tolist()], np.bool_)[which]
    chosen &= scope.within(found.completed_ns)
    if selection.min_ns is not None or selection.max_ns is not None:
        chosen &= (found.service_ns != NONE) & selection.lasting(found.service_ns)
    return found.where(chosen)


def device_name(device: int, replay: Replay) -> str:
    """Return what a dev_t is called: `vda`, or `major:minor` where the recording has no name for it."""
    numbers = f"{device >> MINOR_BITS}:{device & (1 << MINOR_BITS) - 1}"
    name: str = replay.recording.keyframe["devices"].get(numbers, numbers)
    return name


def table(scope: Scope) -> Table:
    """Return a row a completion, in the order of completion.

    `queued_ns` runs from the start of the I/O (or its insertion into a queue) to its issue, `service_ns` from there to the
    completion; both are None where a step is missing. A flush is issued for all who asked for one meanwhile, mostly by a
    thread of the kernel: what a thread asked with is a preflush. The process is the one that started the I/O. Selected time
    is that of the completion.
    """
    replay, found = scope.replay, requests(scope)
    devices = {device: device_name(device, replay) for device in np.unique(found.device).tolist()}
    names, threads = replay.names.texts, replay.timeline.threads
    rows = []
    for began, _, queued, service, place, device, operation, sector, size in zip(
        *(getattr(found, column.name).tolist() for column in fields(found)), strict=True
    ):
        name = threads[place]["name"] if place != NONE else NONE
        row = {
            "start_ns": began - scope.recording.began_ns,
            "comm": names[name] if name != NONE else None,
            "pid": int(threads[place]["tgid"]) if place != NONE else None,
            "device": devices[device] if device != NONE else None,
            "operation": OPERATIONS.get(operation, "other") if operation != NONE else None,
            "sector": sector if sector != NONE else None,
            "bytes": size,
            "queued_ns": queued if queued != NONE else None,
            "service_ns": service if service != NONE else None,
        }
        rows.append(row)
    return Table("block-io", COLUMNS, rows)
