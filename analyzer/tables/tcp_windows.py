"""`tcp-windows`: round-trip time, windows and buffers of TCP connections over time: what a slow one is slow for."""

from typing import Any

from offwake.analyzer.connections import COLUMNS as ENDS
from offwake.analyzer.connections import connection_events, gather
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table
from offwake.analyzer.tcp_latencies import NS_PER_SRTT

__all__ = ["table"]

FIGURES = {
    "snd_cwnd": "count",  # segments, as ssthresh
    "ssthresh": "count",
    "snd_wnd": "bytes",
    "rcv_wnd": "bytes",
    "rcv_space": "bytes",
    "rcv_buffer": "bytes",
    "rcv_queued": "bytes",
}
COLUMNS = (
    Column("start_ns", "ns"),
    *ENDS,
    Column("event", "text"),
    Column("srtt_ns", "ns"),
    *(Column(name, unit) for name, unit in FIGURES.items()),
)
EVENTS = {
    "tcp_rtt": "received",
    "tcp_rcv_space": "read",
    "buffer_limit": "buffer limit",
}
NO_THRESHOLD = 0x7FFFFFFF  # TCP_INFINITE_SSTHRESH


def table(scope: Scope) -> Table:
    """Return a row a sample, in the order of time: at most 100 a second for a connection, and whenever the kernel
    gave a socket no memory.

    `srtt_ns` is the kernel's smoothed round-trip time; `snd_cwnd` counts segments, the other windows bytes. `rcv_space` is
    what the reader takes in a round trip, `rcv_queued` the memory of what it has not read. What an event does not tell is
    None.
    """
    sessions, kinds = gather(scope, *EVENTS)
    found = []
    for kind, rows in kinds.items():
        for time_ns, ends, row in connection_events(scope, sessions, rows):
            found.append(
                {"start_ns": time_ns - scope.recording.began_ns, **ends.cells(), "event": EVENTS[kind], **_figures(row)}
            )
    return Table("tcp-windows", COLUMNS, sorted(found, key=lambda row: row["start_ns"]))


def _figures(row: Any) -> dict[str, int | None]:
    names = row.dtype.names
    found = {name: int(row[name]) if name in names else None for name in FIGURES}
    if found["ssthresh"] == NO_THRESHOLD:
        found["ssthresh"] = None
    return {"srtt_ns": NS_PER_SRTT * int(row["srtt_8us"]) if "srtt_8us" in names else None} | found
