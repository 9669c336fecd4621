"""`offwake sources`: what this kernel can record."""

import argparse
import json
from textwrap import wrap
from typing import Any

from offwake.recorder.kernel.uprobes import has_kprobes
from offwake.recorder.programs.availability import Availability, availability
from offwake.recorder.sources import Event, Source, all_sources, forms

__all__ = ["add_arguments", "run"]

WIDTH = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `sources`."""
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print every source with its events, and what this kernel lacks for it."""
    sources = list(all_sources().values())
    found = availability(sources)
    print(json.dumps(_document(sources, found)) if args.json else "\n".join(_lines(sources, found)))
    return 0


def _document(sources: list[Source], found: Availability) -> dict[str, Any]:
    return {
        "sources": [
            {
                "name": source.name,
                "default": source.default,
                "summary": source.summary,
                "available": source.name not in found.lacking,
                "why_not": found.lacking.get(source.name),
                "samples_per_second": source.sampling.hertz if source.sampling else None,
                "events": [
                    {
                        "name": event.name,
                        "tracepoint": event.tracepoint or None,
                        "fields": [field.name for field in event.fields],
                        "why_not": found.lacking.get(event.name),
                    }
                    for event in source.events
                ],
            }
            for source in sources
        ],
        "forms": [{"name": form, "summary": summary} for form, summary in forms().items()],
        "user_stacks": found.user_stacks or None,
        "not_checked": found.unchecked or None,
    }


def _lines(sources: list[Source], found: Availability) -> list[str]:
    lines = []
    for source in sources:
        default = " (default)" if source.default else ""
        lines.append(f"{source.name}{default}: {source.summary}")
        if source.name in found.lacking:
            lines.append(f"  not available: {found.lacking[source.name]}")
        for event in source.events:
            lines += _event(event, source, found)
        lines.append("")
    for form, summary in forms().items():
        lines += [*wrap(f"{form}: {summary}", WIDTH, subsequent_indent="  ")]
    if not has_kprobes():
        lines.append("  This kernel has no kprobes: count: and time: cannot name functions of its own.")
    lines.append("")
    if found.unchecked:
        lines.append(f"The programs were not loaded to see whether the kernel takes them: {found.unchecked}.")
    else:
        lines.append(f"User stacks: {found.why_no_whole_stacks or found.user_stacks}.")
    return lines


def _event(event: Event, source: Source, found: Availability) -> list[str]:
    came_from = event.tracepoint or ("probes" if source.probes else "the sampling clock")
    text = found.lacking.get(event.name) or ", ".join(field.name for field in event.fields)
    return wrap(f"  {event.name:<18} {came_from:<20} {text}", WIDTH, subsequent_indent=" " * 42)
