"""`offwake dump`: raw records in time order."""

import argparse
import heapq
import json
import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from offwake.analyzer.decode import Decoder, Rows
from offwake.analyzer.recording import Recording
from offwake.analyzer.render.text import printable
from offwake.analyzer.stacks import StackTable
from offwake.commands.arguments import add_recording, opened, status
from offwake.format.layout import Kind

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dump`."""
    add_recording(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print every record: its time (CLOCK_MONOTONIC), CPU, kind and fields."""
    with opened(args.file) as recording:
        for record in _records(recording):
            sys.stdout.write((json.dumps(record) if args.json else _line(record)) + "\n")
    return status(recording)


def _line(record: dict[str, Any]) -> str:
    fields = " ".join(f"{name}={value}" for name, value in record.items() if name not in ("time_ns", "cpu", "event"))
    return printable(f"{record['time_ns'] / 1e9:.9f} [{record['cpu']:03}] {record['event']}: {fields}")


def _records(recording: Recording) -> Iterator[dict[str, Any]]:
    """Yield the records in the order of time: a segment's wait until the next one shows that nothing earlier follows."""
    stacks = StackTable()
    decoder = Decoder(recording.keyframe, stacks)
    waiting: list[tuple[int, int, dict[str, Any]]] = []
    number = 0
    for _, blocks in groupby(recording.reader.blocks, key=lambda block: block.segment):
        decoded: list[tuple[int, Rows]] = []
        for block in blocks:
            if block.kind == Kind.KEYFRAME and (keyframe := recording.reader.values(block)) is not None:
                decoder.learn(keyframe)
            elif block.kind == Kind.EVENTS and (span := recording.reader.payload(block)) is not None:
                decoded += decoder.decode(span, block.stream).items()
        fresh = [record for kind, rows in decoded for record in _values(decoder, kind, rows, stacks)]
        earliest = min((record["time_ns"] for record in fresh), default=0)
        while waiting and waiting[0][0] < earliest:
            yield heapq.heappop(waiting)[2]
        for record in fresh:
            heapq.heappush(waiting, (record["time_ns"], number, record))
            number += 1
    while waiting:
        yield heapq.heappop(waiting)[2]


def _values(decoder: Decoder, kind: int, rows: Rows, stacks: StackTable) -> Iterator[dict[str, Any]]:
    event = decoder.layouts[kind].name
    has_stack = np.maximum(rows.stack, 0) if rows.stack.max() >= 0 else None
    kernel, user = (rows.stack if has_stack is None else of(has_stack) for of in (stacks.kernel_stacks, stacks.user_stacks))
    names = [name for name in rows.payload.dtype.names or () if name != "kind"]
    for place in range(len(rows)):
        record = {"time_ns": int(rows.time_ns[place]), "cpu": int(rows.cpu[place]), "event": event}
        for name in names:
            record[name] = _plain(rows.payload[name][place])
        if rows.stack[place] >= 0:
            chains = [int(rows.stack[place])]
            if kernel[place] >= 0 and (chain := int(decoder.kernel_stacks.chain[kernel[place]])) >= 0:
                chains.insert(0, chain)
            record["stack"] = [hex(address) for chain in chains for address in stacks.addresses(chain)]
            if kernel[place] >= 0:
                record["kernel_stack"] = hex(decoder.kernel_stacks.ids[kernel[place]])
            if user[place] >= 0:  # what goes on from there is to be unwound
                record["user_stack"] = hex(decoder.user_stacks.ids[user[place]])
        yield record


def _plain(value: Any) -> Any:
    if isinstance(value, np.void):
        return value.tobytes().hex()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return int(value)
