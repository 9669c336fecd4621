"""`tcp-states`: every change of a TCP socket's state, with the time that it had been in the one before."""

from itertools import compress

import numpy as np

from offwake.analyzer.connections import COLUMNS as ENDS
from offwake.analyzer.connections import Owners, gather
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table
from offwake.analyzer.tcp import state_name

__all__ = ["table"]

COLUMNS = (
    Column("start_ns", "ns"),
    *ENDS,
    Column("old_state", "text"),
    Column("new_state", "text"),
    Column("duration_ns", "ns"),
)


def table(scope: Scope) -> Table:
    """Return a row a change, in the order of time; `start_ns` is when it happened. Sockets that listen are there too.

    `duration_ns` is how long the socket had been in its old state; None where nobody saw it come into that, or it was made
    in it. `min_ns` and `max_ns` bound it. Selected time is that of the change.
    """
    sessions, _ = gather(scope)
    owners, found = Owners(scope, (session.owner for session in sessions.all)), []
    for session in sessions.all:
        ends = owners.connection(session.owner, session.seen)
        if owners.is_selected(session.owner, ends):
            found += [(change, ends) for change in session.changes if scope.selection.lasts(change.lasted_ns)]
    within = scope.within(np.array([change.time_ns for change, _ in found], np.int64))
    rows = [
        {
            "start_ns": change.time_ns - scope.recording.began_ns,
            **ends.cells(),
            "old_state": state_name(change.old),
            "new_state": state_name(change.new),
            "duration_ns": change.lasted_ns,
        }
        for change, ends in sorted(compress(found, within.tolist()), key=lambda pair: pair[0].time_ns)
    ]
    return Table("tcp-states", COLUMNS, rows)
