"""Any tracepoint: `trace:GROUP:NAME`, its arguments as the kernel writes them.

The kernel writes these records itself, by perf: no program runs, so there is nothing to compile, and whatever tracefs knows
can be had. It filters them too, in its own words (Documentation/trace/events.rst, "Event filtering").
"""

import re
from dataclasses import replace

from offwake.errors import UsageError
from offwake.recorder.kernel.tracefs import format_of
from offwake.recorder.sources import Field, Source, Traced

FORM = "trace:GROUP:NAME"
SUMMARY = (
    "any tracepoint with its arguments; `:stack` adds the stack, `:FILTER` (as bytes>4096) is the kernel's own; "
    "`trace:A..B by FIELD` is the time from A to B"
)
PAIR = re.compile(r"(?P<first>.+?)\.\.(?P<second>.+) by (?P<by>\w+(?:\+\w+)*)")


def make(argument: str) -> Source:
    """Declare what follows `trace:`. Raises UsageError for what names no tracepoint, CannotRecord without tracefs."""
    pair = PAIR.fullmatch(argument)
    if ".." in argument and not pair:
        raise UsageError(f"trace:{argument}: say by what a pair belongs together, as trace:A..B by FIELD or FIELD+cpu")
    traced = tuple(_traced(part) for part in ((pair["first"], pair["second"]) if pair else (argument,)))
    by = tuple(pair["by"].split("+")) if pair else ()
    for field in by:
        for one in traced:
            if field not in ("cpu", "tid") and all(field != known.name for known, _ in one.payload):
                fields = ", ".join(["cpu", "tid", *(known.name for known, _ in one.payload[1:])])
                raise UsageError(f"trace:{argument}: {one.name} has no field {field}; there are {fields}")
    return Source(name=f"trace:{argument}", summary=f"the tracepoint {argument}", traced=traced, pair=by)


def _traced(text: str) -> Traced:
    """Read GROUP:NAME[:stack][:FILTER]."""
    group, _, rest = text.strip().partition(":")
    name, _, options = rest.partition(":")
    stack = options == "stack" or options.startswith("stack:")
    filtered = options.removeprefix("stack").removeprefix(":") if stack else options
    form = format_of(group, name)
    fields = tuple((Field(one.name, one.type), one.at) for one in form.fields)
    strings = tuple(one.name for one in form.fields if one.is_elsewhere)
    found = Traced(f"{group}:{name}", form.id, fields, form.size, strings)
    return replace(found, filter=filtered, with_stack=stack)
