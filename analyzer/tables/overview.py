"""`overview`: what the machine did at each moment, a row a column of the timeline that the viewer draws."""

from dataclasses import replace

from offwake.analyzer.overview import SERIES, overview
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table

__all__ = ["table"]


def _unit(name: str) -> str:
    return "ns" if name.endswith("_ns") else "bytes" if name.endswith("_bytes") else "count"


COLUMNS = (Column("start_ns", "ns"), Column("length_ns", "ns"), *(Column(name, _unit(name)) for name in SERIES))


def table(scope: Scope) -> Table:
    """Return a row for each part of the recording that overlaps the selected time, in the order of time.

    The parts are those of the whole recording, at most 240, whatever time is selected. Idle waits are told apart.
    """
    found = overview(Scope(scope.recording, replace(scope.selection, show_all=False), scope.strangers))
    began_ns = scope.recording.began_ns
    starts_ns = found.columns.starts_ns.tolist()
    columns = zip(starts_ns, found.lengths_ns.tolist(), *(found.sums[name].tolist() for name in SERIES), strict=True)
    rows = [dict(zip(("start_ns", "length_ns", *SERIES), values, strict=True)) for values in columns]
    first_ns, last_ns = scope.begin_ns - began_ns - found.columns.width_ns, max(scope.end_ns - began_ns, 1)
    return Table("overview", COLUMNS, [row for row in rows if first_ns < row["start_ns"] < last_ns])
