"""`offwake info`: what a recording holds, from which host, how complete it is."""

import argparse
import json
from typing import Any

from offwake.analyzer.completeness import completeness, wholeness
from offwake.analyzer.recording import Recording
from offwake.analyzer.render.text import count, duration, printable, size
from offwake.commands.arguments import add_recording, status

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `info`."""
    add_recording(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print what is known of a recording."""
    with Recording.open(args.file) as recording:
        info = recording.info()
        print(json.dumps(info) if args.json else "\n".join(printable(line) for line in _lines(info)))
        return status(recording)


def _lines(info: dict[str, Any]) -> list[str]:
    sources = ", ".join(f"{source['name']} {count(source['events'])}" for source in info["sources"])
    stacks = info["user_stacks"]
    rows = [
        ("host", f"{info['host']}, kernel {info['kernel']}, {info['cpus']} CPUs"),
        ("started", info["started"]),
        ("length", f"{duration(info['duration_ns'])}, ended by: {info['ended_by'] or 'nothing (not ended)'}"),
        ("redacted", "no command lines, host names or IP addresses are in the file" if info["redacted"] else ""),
        ("command", "" if info["redacted"] else " ".join(info["command"]) or "(none: the whole machine)"),
        ("stacks of", info["of"] + _short_waits(info["narrowed"]["min_block_ns"])),
        ("events", f"{count(info['events'])}: {sources}"),
        ("probes in", ", ".join(_probed(one) for one in info["probed"] if not one["why_not"])),
        ("lost", f"{count(info['lost']['total'])} events"),
        ("threads", f"{count(info['threads'])} in {count(info['processes'])} processes"),
        ("user stacks", "; ".join([count(stacks["total"]), f"{count(stacks['recorded'])} recorded", *wholeness(info)])),
        ("file", f"{info['bytes']:,} bytes in {info['blocks']} blocks, format {'.'.join(map(str, info['format']))}"),
        ("own cost", _own_cost(info["own_cost"]) or "not known"),
        ("unknown", f"{duration(info['unknown_ns'])} of the threads' time"),
        ("open waits", f"{duration(info['open_ns'])} so far: they began earlier, or did not end"),
        ("verdict", completeness(info)),
    ]
    return [f"{name:<12} {text}" for name, text in rows if text] + [f"- {sentence}" for sentence in info["verdict"]]


def _probed(one: dict[str, Any]) -> str:
    """Say where a source's probes were, and, if not from the beginning, since when."""
    if one["mapped_ns"] is None:
        return f"{one['file']} ({one['source']})"
    late_ns = one["probed_ns"] - one["mapped_ns"]
    return f"{one['file']} ({one['source']}; from {duration(one['probed_ns'])} on, {duration(late_ns)} after it was mapped)"


def _short_waits(min_block_ns: int) -> str:
    return f"; of wakers only for waits of {duration(min_block_ns)} and more" if min_block_ns else ""


def _own_cost(own: dict[str, Any]) -> str:
    """Say what recording itself took, as far as the recorder told."""
    parts = []
    if own["own_cpu_ns"] is not None:
        each = f" ({own['own_cpu_ns_per_event']:,} ns an event)" if own["own_cpu_ns_per_event"] is not None else ""
        parts.append(f"{duration(own['own_cpu_ns'])} of CPU{each}")
    if own["own_bytes"] is not None and own["own_device"]:
        parts.append(f"{size(own['own_bytes'])} written to {own['own_device'].get('name', '?')}")
    if own["peak_memory_bytes"] is not None:
        parts.append(f"{size(own['peak_memory_bytes'])} of memory at most")
    return ", ".join(parts)
