"""`block-io`: every block I/O request, matched from queueing to completion by the kernel's request pointer."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled
from offwake.analyzer.decode import Rows
from offwake.analyzer.heatmap import Heatmap, latency_heatmap
from offwake.analyzer.replay import Replay
from offwake.analyzer.select import Selection
from offwake.analyzer.tables import Column, Table

if TYPE_CHECKING:
    from offwake.analyzer.recording import Recording

__all__ = ["heatmap", "table"]

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

# REQ_OP_*, include/linux/blk_types.h
OPERATIONS = {0: "read", 1: "write", 2: "flush", 3: "discard", 5: "secure erase", 7: "zone append", 9: "write zeroes"}
OPERATION_BITS = 0xFF

# The steps of a request, in the order in which they are taken when the clock says the same.
STEPS = ("block_io_start", "block_rq_insert", "block_rq_issue", "block_rq_requeue", "block_rq_complete")
START, INSERT, ISSUE, REQUEUE, COMPLETE = range(len(STEPS))
NONE = -1
MATCHED = ("block_io_start", "block_rq_insert", "block_rq_issue", "block_rq_complete")


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
        return found[np.argsort(found[:, 3], kind="stable")]

    def times(self, places: list[int]) -> list[Any]:
        """Return when a request was started, inserted, issued and completed (ns, CLOCK_MONOTONIC), None where missing."""
        return [
            int(self.rows[step].time_ns[place]) if place != NONE else None
            for step, place in zip(MATCHED, places, strict=True)
        ]

    def starter(self, places: list[int]) -> int | None:
        """Return the thread that started a request: the current one at its earliest step, never at completion."""
        for step, place in zip(MATCHED[:3], places, strict=False):
            if place != NONE:
                return int(self.rows[step].payload["tid"][place])
        return None

    def what(self, places: list[int]) -> dict[str, Any]:
        """Return what a request asks for; only its issue says, except for the bytes completed."""
        bytes_done = int(self.rows["block_rq_complete"].payload["bytes"][places[3]])
        if places[2] == NONE:
            return {"device": None, "operation": None, "sector": None, "bytes": bytes_done}
        issue = self.rows["block_rq_issue"].payload[places[2]]
        operation = OPERATIONS.get(int(issue["command"]) & OPERATION_BITS, "other")
        sector = None if operation == "flush" else int(issue["sector"])
        return {
            "device": f"{issue['major']}:{issue['minor']}",
            "operation": operation,
            "sector": sector,
            "bytes": bytes_done,
        }


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


def table(recording: "Recording", selection: Selection) -> Table:
    """Return a row a completion, in the order of completion.

    `queued_ns` runs from the start of the I/O (or its insertion into a queue) to its issue, `service_ns` from there to the
    completion; both are None where a step is missing. The process is the one that started the I/O. Selected time is that
    of the completion.
    """
    replay = recording.replay()
    steps = _Steps(replay)
    begin, end = selection.window(replay)
    names, tgids, devices = replay.tid_names(), replay.tid_tgids(), recording.keyframe["devices"]
    found = []
    for places in steps.completions().tolist():
        times, who, what = steps.times(places), steps.starter(places), steps.what(places)
        started_ns = next(time for time in times if time is not None)
        row = {
            "start_ns": started_ns - recording.began_ns,
            "comm": names.get(who),
            "pid": tgids.get(who),
            "device": devices.get(what["device"], what["device"]),
            "operation": what["operation"],
            "sector": what["sector"],
            "bytes": what["bytes"],
            "queued_ns": None if times[ISSUE] is None or started_ns == times[ISSUE] else times[ISSUE] - started_ns,
            "service_ns": None if times[ISSUE] is None else times[-1] - times[ISSUE],
        }
        if (
            begin <= times[-1] < end
            and selection.fits(who, row["pid"], row["comm"])
            and row["pid"] != recording.recorder_pid
        ):
            found.append(row)
    return Table("block-io", COLUMNS, found)


def heatmap(recording: "Recording", selection: Selection) -> Heatmap:
    """Return service times over the time of completion."""
    rows = [row for row in table(recording, selection).rows if row["service_ns"] is not None]
    service = np.array([row["service_ns"] for row in rows], np.int64)
    completed = np.array([row["start_ns"] + (row["queued_ns"] or 0) + row["service_ns"] for row in rows], np.int64)
    return latency_heatmap("block-io", completed, service, recording.duration_ns)
