"""The table beside a flame graph: every function with its self and its total time."""

from offwake.analyzer.render.tree import Frame, functions
from offwake.analyzer.tables import Column, Table

__all__ = ["frame_table"]

def frame_table(top: Frame) -> Table:
    """Return the functions under a frame, most self time first; shares are of that frame's time.

    Of stacks that count events the columns are named without `_ns`.
    """
    whole = max(top.value_ns, 1)
    suffix, unit = ("_ns", "ns") if top.tree.unit == "ns" else ("", "count")
    columns = (
        Column(f"self{suffix}", unit),
        Column("self_share", "share"),
        Column(f"total{suffix}", unit),
        Column("total_share", "share"),
        Column("frame", "text"),
    )
    names = [column.name for column in columns]
    rows = [
        dict(zip(names, (own, own / whole, total, total / whole, name), strict=True)) for name, own, total in functions(top)
    ]
    return Table("frames", columns, rows)
