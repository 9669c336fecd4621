"""`offwake recover`: a whole file from a killed or damaged recording; on the host it came from, with symbols."""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from offwake.format.recover import recover
from offwake.format.writer import TraceWriter
from offwake.recorder.binaries.addresses import addresses_of
from offwake.recorder.binaries.files import FileKeeper
from offwake.recorder.binaries.symbols import add_symbols
from offwake.recorder.host.snapshot import boot_id
from offwake.recorder.output.redaction import redacted

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `recover`."""
    parser.add_argument("part", type=Path, metavar="PART", help="what a killed recording left, or a damaged file")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the whole file to write")


def run(args: argparse.Namespace) -> int:
    """Write a finished file of everything that is sound."""
    recovery = recover(args.part, args.output, _add_symbols)
    lost = f", {recovery.blocks_lost} lost" if recovery.blocks_lost else ""
    print(f"{args.output}: {recovery.blocks_copied} blocks recovered{lost}", file=sys.stderr)
    return 0


def _add_symbols(reader: TraceReader, writer: TraceWriter) -> None:
    """Name the addresses, unless the recording has names or comes from another host or boot, whose addresses differ."""
    if any(block.kind == Kind.SYMBOLS and reader.values(block) for block in reader.blocks):
        return
    keyframe: dict[str, Any] = next(
        (values for b in reader.blocks if b.kind == Kind.KEYFRAME and (values := reader.values(b))), {}
    )
    if keyframe.get("boot_id") != boot_id():
        print(
            "offwake: the recording comes from another host or boot: its symbols cannot be added here", file=sys.stderr
        )
        return
    with contextlib.closing(FileKeeper()) as keeper:
        writer.edit = redacted if keyframe.get("redacted") else None
        add_symbols(addresses_of(reader), writer, keeper)
