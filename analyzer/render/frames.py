"""The table beside a flame graph: every function with its self and its total time."""

from offwake.analyzer.render.tree import Frame, functions
from offwake.analyzer.tables import Column, Table

__all__ = ["frame_table"]

COLUMNS = (
    Column("self_ns", "ns"),
    Column("self_share", "share"),
    Column("total_ns", "ns"),
    Column("total_share", "share"),
    Column("frame", "text"),
)


def frame_table(top: Frame) -> Table:
    """Return the functions under a frame, most self time first; shares are of that frame's time."""
    whole = max(top.value_ns, 1)
    rows = [
        {
            "self_ns": function.self_ns,
            "self_share": function.self_ns / whole,
            "total_ns": function.total_ns,
            "total_share": function.total_ns / whole,
            "frame": function.name,
        }
        for function in functions(top)
    ]
    return Table("frames", COLUMNS, rows)
