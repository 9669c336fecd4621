"""`tcp-top`: bytes by process and connection, second by second."""

import numpy as np

from offwake.analyzer.connections import COLUMNS as ENDS
from offwake.analyzer.connections import Connection, connection_events, gather
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table

__all__ = ["table"]

COLUMNS = (Column("start_ns", "ns"), *ENDS, Column("tx_bytes", "bytes"), Column("rx_bytes", "bytes"))
SECOND = 1_000_000_000
DIRECTIONS = {"tcp_send": "tx_bytes", "tcp_receive": "rx_bytes"}


def table(scope: Scope) -> Table:
    """Return a row for each process and connection that moved bytes in a second of the recording, the most first.

    Bytes are those that calls handed over, when they returned; the process is the one that called.
    """
    sessions, kinds = gather(scope, *DIRECTIONS)
    found: dict[tuple[int, Connection], dict[str, int]] = {}
    for kind, rows in kinds.items():
        events = connection_events(scope, sessions, rows, by_event=True)
        second = (events.rows.time_ns - scope.recording.began_ns) // SECOND
        keys, group = np.unique(np.stack([second, events.which]), axis=1, return_inverse=True)
        sums = np.bincount(group.reshape(-1), events.rows.payload["length"], keys.shape[1])
        for (start, which), moved in zip(keys.T.tolist(), sums.tolist(), strict=True):
            row = found.setdefault((start, events.connections[which]), dict.fromkeys(DIRECTIONS.values(), 0))
            row[DIRECTIONS[kind]] += int(moved)
    ordered = sorted(found.items(), key=lambda item: (item[0][0], -sum(item[1].values())))
    moved_rows = [{"start_ns": second * SECOND, **ends.cells(), **moved} for (second, ends), moved in ordered]
    return Table("tcp-top", COLUMNS, moved_rows)
