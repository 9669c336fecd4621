"""Rows: which stacks a row of a table or a bucket of a histogram is about: a view, and the fields of its page's address."""

import re
from collections.abc import Callable, Iterable, Sequence
from glob import escape
from typing import Any

__all__ = ["OPENS", "bucket_rows", "labelled", "row_stacks"]

Row = dict[str, Any]
Stacks = tuple[str, dict[str, Any]]

OPENS = {
    "off-cpu": "off-wake",
    "blocked": "off-wake",
    "run-queue": "run-queue",
    "on-cpu": "on-cpu",
}
"""The view of the waits that a kind of latency is about; of others it is what threads blocked in meanwhile, off-wake."""


def row_stacks(of: str, row: Row) -> Stacks:
    """Return the stacks of a row: its own, if the table has something to say of it; else its thread's or process's, then."""
    view, fields = _ROWS.get(of, _whoever)(row)
    return view, fields if of in _OF_WAITS else fields | {"min_us": None, "max_us": None, "state": None}


def bucket_rows(bounds: Iterable[tuple[int, int]], counts: Sequence[int]) -> list[Row]:
    """Return a histogram's rows: bounds (ns), count, its share of the largest one, and the fields that choose it."""
    rows: list[Row] = []
    for (low_ns, end_ns), number in zip(bounds, counts, strict=True):
        fields = {"min_us": f"{low_ns / 1000:.15g}", "max_us": f"{(end_ns - 1) / 1000:.15g}", "ended": 1}
        share = number / max(*counts, 1)
        rows.append({"low_ns": low_ns, "end_ns": end_ns, "count": number, "share": share, "fields": fields})
    return rows


def labelled(by: dict[str, str]) -> Row | None:
    """Return the fields that choose the stacks of what has these labels; None where none do, as of a device."""
    fields: Row = {}
    for label, words in by.items():
        field, pattern = _LABELS.get(label, ("", "$^"))
        if not (found := re.fullmatch(pattern, words, re.S)):
            return None
        fields[field] = escape(found[1])
    return fields


def _whoever(row: Row) -> Stacks:
    who = next(({name: row[name]} for name in ("tid", "pid") if row.get(name)), {})
    lasted = next((row[name] for name in ("duration_ns", "latency_ns", "length_ns") if row.get(name)), None)
    return "off-wake", who | _during(row.get("start_ns"), lasted)


def _request(row: Row) -> Stacks:
    """The waits that a block I/O request ended: those of its time that were woken out of its completion."""
    lasted = (row["queued_ns"] or 0) + (row["service_ns"] or 0)
    ended_by = rf"^\[{re.escape(row['device'])} {row['operation']}\b" if row["device"] else None
    return "off-wake", {"grep": ended_by, "all": 1} | _during(row["start_ns"], lasted + 1)


def _waiting(row: Row) -> Stacks:
    """The chains of the thread's waits in which the other is met; sources stand there with how long they took."""
    other = re.escape(row["waited_for"])
    if row["waited_for_tid"] is None:
        other = rf"{other.removesuffix(re.escape(']'))}(, .+)?\]"
    return "chain", {"tid": row["tid"], "all": 1, "grep": f"^{other}$"}


def _during(start_ns: int | None, lasted_ns: int | None) -> dict[str, Any]:
    if start_ns is None:
        return {}
    end_ns = None if lasted_ns is None else start_ns + max(lasted_ns, 1)
    return {"from": _seconds(start_ns), "to": None if end_ns is None else _seconds(end_ns)}


def _seconds(ns: int) -> str:
    return f"{ns // 1_000_000_000}.{ns % 1_000_000_000:09}"


_OF_WAITS = ("threads", "waits-for", "overview")  # what bounds how long rows of others took bounds no waits
_ID = r".*\(([1-9]\d*)\)"
_NAME = r"([^[].*)"  # in brackets stands what is not known
_LABELS = {"comm": ("comm", _NAME), "cgroup": ("cgroup", _NAME), "state": ("state", "(.)"), "pid": ("pid", r"([1-9]\d*)")}
_LABELS |= {"thread": ("tid", _ID), "process": ("pid", _ID)}
_ROWS: dict[str, Callable[[Row], Stacks]] = {"block-io": _request, "waits-for": _waiting}
