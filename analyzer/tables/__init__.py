"""Tables: rows of named columns, one module per table."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Column", "Table"]


@dataclass(frozen=True)
class Column:
    """One column. `unit` decides how a value is shown, never its JSON.

    It is "ns", "bytes", "count", "share" (from 0 to 1), "text" or "id".
    """

    name: str
    unit: str


@dataclass(frozen=True)
class Table:
    """Rows (dictionaries by column name; a value that is not known is None) in the order in which they are shown."""

    of: str
    columns: tuple[Column, ...]
    rows: list[dict[str, Any]]
