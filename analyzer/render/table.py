"""Tables as text for a terminal, and as CSV for programs."""

import csv
import io
from typing import Any

from offwake.analyzer.render.text import count, duration, percent, printable
from offwake.analyzer.tables import Column, Table

__all__ = ["cell_text", "csv_table", "heading", "text_table"]

_RIGHT_ALIGNED = {"ns", "bytes", "count", "id", "share"}


def cell_text(value: Any, unit: str) -> str:
    """Show one value for people: durations as `12.3 ms`, counts with thousands apart, `-` for what is not known."""
    if value is None:
        return "-"
    if unit == "ns":
        return duration(value)
    if unit in ("bytes", "count"):
        return count(value)
    if unit == "share":
        return percent(value, 1, 1)
    return printable(str(value))


def heading(column: Column) -> str:
    """Return a column's heading: its name in words, without the unit that the cells show anyway."""
    return printable(column.name.removesuffix("_ns")).replace("_", " ")


def text_table(table: Table) -> str:
    """Return the table as aligned lines, numbers to the right, under one line of headings."""
    cells = [[heading(column) for column in table.columns]]
    cells += [[cell_text(row.get(column.name), column.unit) for column in table.columns] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "".join(_line(line, widths, table.columns) for line in cells)


def csv_table(table: Table) -> str:
    """Return the table as CSV under a line of column names: durations in whole nanoseconds, nothing for the unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    for row in table.rows:
        values = [row.get(column.name) for column in table.columns]
        writer.writerow([printable(value) if isinstance(value, str) else value for value in values])
    return text.getvalue()


def _line(cells: list[str], widths: list[int], columns: tuple[Column, ...]) -> str:
    padded = [
        cell.rjust(width) if column.unit in _RIGHT_ALIGNED else cell.ljust(width)
        for cell, width, column in zip(cells, widths, columns, strict=True)
    ]
    return "  ".join(padded).rstrip() + "\n"
