"""Asks: a request's query as a selection and a view's options, and as the command line that makes the same picture.

What can be selected, and what is wrong with a value, is the analyzer's to say (options.py); an empty field says nothing.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from offwake.analyzer import options
from offwake.analyzer.query import OPTIONS
from offwake.analyzer.select import Selection
from offwake.analyzer.views import DEFAULTS, ViewOptions
from offwake.errors import UsageError

__all__ = ["SELECTION_FIELDS", "VIEW_FIELDS", "Ask", "command_line", "given", "parse_ask", "parse_selection", "whole_number"]

SELECTION_FIELDS = tuple(option.name for option in options.SELECTION)
VIEW_FIELDS = tuple(option.name for option in options.VIEW)
TEXT_AT_MOST = 500
KEY_AT_MOST = 2**32


@dataclass(frozen=True)
class Ask:
    """How a flame graph was asked for, besides the selection.

    The view's options, the frame to zoom to, what to search, which way up (None: what suits it).
    """

    options: ViewOptions
    zoom: int | None
    search: str | None
    ignore_case: bool
    icicle: bool | None

    @property
    def way_up(self) -> list[str]:
        """The option of a command line that turns the picture so."""
        return [] if self.icicle is None else ["--icicle" if self.icicle else "--flame"]


def parse_ask(view: str, query: Mapping[str, str]) -> Ask:
    """Read what a flame graph's address says, or raise UsageError. Options of other views are not for this one."""
    return Ask(
        options=options.parse_view_options(given(query, OPTIONS[view])),
        zoom=whole_number(query, "zoom"),
        search=_search(query),
        ignore_case="icase" in query,
        icicle=True if "icicle" in query else False if "flame" in query else None,
    )


def parse_selection(query: Mapping[str, str]) -> Selection:
    """Read the filters of a page's address, or raise UsageError saying which one is wrong."""
    return options.parse_selection(given(query, SELECTION_FIELDS))


def command_line(command: list[str], selection: Selection, view_options: ViewOptions = DEFAULTS) -> str:
    """Return the shell command that makes what a page shows."""
    return shlex.join(["offwake", *command, *options.words(selection, view_options)])


def given(query: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return those of some fields that say something."""
    texts = {name: query.get(name, "").strip() for name in names}
    return {name: text for name, text in texts.items() if text}


def _search(query: Mapping[str, str]) -> str | None:
    text = query.get("search", "")
    if len(text) > TEXT_AT_MOST:
        raise UsageError(f"“search” is longer than {TEXT_AT_MOST} characters; shorten it")
    return text or None


def whole_number(query: Mapping[str, str], name: str) -> int | None:
    """Read a whole number below 2³², None where there is none, or raise UsageError."""
    text = query.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < KEY_AT_MOST):
        raise UsageError(f"“{name}” must be a whole number below 2³², not “{text[:40]}”")
    return int(text)
