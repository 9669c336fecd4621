"""The end of a recording: last states, symbols, totals; and the file has its name.

What is written here is collected after the capture, at low priority, for nothing but what the recording holds.
"""

import os
from dataclasses import dataclass
from typing import Any

from offwake.format.layout import Kind
from offwake.format.writer import Block, TraceWriter
from offwake.recorder.binaries.files import FileKeeper
from offwake.recorder.binaries.symbols import add_symbols
from offwake.recorder.host.helper import Helper
from offwake.recorder.host.listeners import listeners
from offwake.recorder.host.processes import ProcessTable
from offwake.recorder.host.snapshot import clocks
from offwake.recorder.kernel.privileges import Capability, keep_only
from offwake.recorder.output.file import Output
from offwake.recorder.output.own_cost import OwnCost, device_of, peak_memory_bytes

__all__ = ["Ending", "finish"]

NICE = 10


@dataclass(frozen=True)
class Ending:
    """What the capture knows at its end.

    `footer` is what it has to say; `helper` reads kernel stacks; `max_bytes` bounds the file; once everything is named,
    `needed` are the capabilities kept.
    """

    footer: dict[str, Any]
    own_cpu_s: float
    listeners: set[int]
    keeper: FileKeeper
    helper: Helper
    max_bytes: int | None
    needed: tuple[Capability, ...] = ()


def finish(output: Output, writer: TraceWriter, ending: Ending) -> OwnCost:
    """Write what the end of a recording knows, and give the output its name; returns what recording cost.

    Raises OutputError when the output fails.
    """
    try:
        table = ProcessTable(ending.helper.kernel_stack)
        table.scan()
        snapshot = {
            "clocks": clocks(),
            "threads": list(table.threads.values()),
            "cgroups": table.cgroups(),
            "ns_pids": table.ns_pids(),
            "listeners": sorted(ending.listeners.union(listeners())),
        }
        writer.write_values(Block(Kind.SNAPSHOT), snapshot)
        os.nice(NICE)
        all_named = add_symbols(output.addresses(), writer, ending.keeper, ending.max_bytes)
        keep_only(ending.needed)
        own = OwnCost(ending.own_cpu_s, writer.bytes_written, device_of(output.fd), peak_memory_bytes())
        writer.finish({**ending.footer, **own.as_values(), "all_named": all_named, "clocks": clocks()})
        output.complete()
    except (OSError, ValueError, MemoryError) as error:
        raise output.failure(error) from error
    return own
