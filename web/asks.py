"""Asks: a request's query as a selection, and as the command line that makes the same picture."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from offwake.analyzer.select import Selection
from offwake.errors import UsageError

__all__ = ["SELECTION_FIELDS", "Ask", "command_line", "parse_ask", "parse_selection"]

SELECTION_FIELDS = ("pid", "tid", "comm", "from", "to", "grep", "all")
TEXT_AT_MOST = 500
SECONDS_AT_MOST = 1e9
ID_AT_MOST = 2**32


@dataclass(frozen=True)
class Ask:
    """How a flame graph was asked for, besides the selection: the frame to zoom to, what to search, which way up."""

    zoom: int | None
    search: str | None
    ignore_case: bool
    icicle: bool


def parse_ask(query: Mapping[str, str]) -> Ask:
    """Read what a flame graph's address says, or raise UsageError."""
    return Ask(
        zoom=_whole(query, "zoom"),
        search=_text(query, "search"),
        ignore_case="icase" in query,
        icicle="icicle" in query,
    )


def parse_selection(query: Mapping[str, str]) -> Selection:
    """Read the filters of a page's address, or raise UsageError saying which one is wrong."""
    begin_ns, end_ns = _nanoseconds(query, "from"), _nanoseconds(query, "to")
    if begin_ns is not None and end_ns is not None and begin_ns >= end_ns:
        raise UsageError("“from” must be before “to”")
    return Selection(
        pid=_whole(query, "pid"),
        tid=_whole(query, "tid"),
        comm=_text(query, "comm"),
        begin_ns=begin_ns,
        end_ns=end_ns,
        grep=_text(query, "grep"),
        show_all="all" in query,
    )


def command_line(command: list[str], selection: Selection) -> str:
    """Return the shell command that makes what a page shows."""
    options: dict[str, object] = {
        "--pid": selection.pid,
        "--tid": selection.tid,
        "--comm": selection.comm,
        "--from": _seconds(selection.begin_ns),
        "--to": _seconds(selection.end_ns),
        "--grep": selection.grep,
    }
    words = ["offwake", *command]
    for option, value in options.items():
        if value is not None:
            words += [option, str(value)]
    if selection.show_all:
        words.append("--all")
    return shlex.join(words)


def _text(query: Mapping[str, str], name: str) -> str | None:
    text = query.get(name, "")
    if len(text) > TEXT_AT_MOST:
        raise UsageError(f"“{name}” is longer than {TEXT_AT_MOST} characters; shorten it")
    return text or None


def _whole(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < ID_AT_MOST):
        raise UsageError(f"“{name}” must be a whole number below 2³², not “{text[:40]}”")
    return int(text)


def _nanoseconds(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= SECONDS_AT_MOST:
        raise UsageError(f"“{name}” must be seconds since the recording's start, such as 1.5, not “{text[:40]}”")
    return round(seconds * 1e9)


def _seconds(ns: int | None) -> str | None:
    return None if ns is None else f"{ns / 1e9:.9f}".rstrip("0").rstrip(".")
