"""How long TCP packets took from one layer of the kernel to the next."""

from dataclasses import replace

import numpy as np

from offwake.analyzer.connections import Events, connection_events, gather
from offwake.analyzer.decode import Rows
from offwake.analyzer.latest import NONE, latest
from offwake.analyzer.scope import Scope
from offwake.analyzer.shapes import LATEST_NS

__all__ = ["WAYS", "packets"]

WAYS = {
    "driver-to-tcp": "from the driver to TCP, for packets of established connections",
    "tcp-to-reader": "from TCP to the reader's first copy of a packet's bytes",
    "sender-to-queue": "from the sender, when the kernel takes a packet's first byte, to the device's queue",
    "queue-to-driver": "from the device's queue to its driver",
    "driver-to-wire": "inside the driver, until it has taken a packet",
}
"""What each way between two layers is."""
_ENDS = dict(zip(WAYS, ("net_to_tcp", "net_to_reader", "net_to_queue", "net_to_driver", "net_to_wire"), strict=True))
"""The kind of event at the end of each; its payload has the latency."""


def packets(scope: Scope) -> dict[str, Events]:
    """Return the packets that went each way, by the way's name, when they arrived; only ways that some went."""
    sessions, kinds = gather(scope, *_ENDS.values())
    if "net_to_wire" in kinds:
        kinds["net_to_wire"] = _with_sockets(kinds["net_to_wire"], kinds.get("net_to_driver"))
    return {
        way: connection_events(scope, sessions, _possible(kinds[kind]))
        for way, kind in _ENDS.items()
        if kind in kinds and len(kinds[kind])
    }


def _with_sockets(sent: Rows, queued: Rows | None) -> Rows:
    """Return packets as they left the driver with what was known of them when they came there: by then they may be gone."""
    if queued is None:
        return sent.where(np.empty(0, np.int64))
    places = latest(sent.payload["packet"], sent.time_ns, (queued.payload["packet"], queued.time_ns))
    sent = sent.where(places != NONE)
    payload = queued.payload[places[places != NONE]].copy()
    payload["latency_ns"] = sent.payload["latency_ns"]
    return replace(sent, payload=payload)


def _possible(rows: Rows) -> Rows:
    """Return the events whose latency can have been: a stranger's recording may hold any number."""
    return rows.where(rows.payload["latency_ns"] < LATEST_NS)
