"""`offwake verify`: read every block of a recording, and say what is damaged or missing."""

import argparse
import json
from pathlib import Path

from offwake.errors import DamagedRecording
from offwake.format.reader import Damage, TraceReader

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `verify`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a recording, finished or not")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print every damage, then one line about the whole; return 0 when the recording is sound and finished."""
    with TraceReader.open(args.file) as reader:
        reader.verify()
        print(_json(reader) if args.json else "\n".join(_lines(args.file, reader)))
        return 0 if _is_whole(reader) else DamagedRecording.exit_code


def _is_whole(reader: TraceReader) -> bool:
    return reader.finished and not reader.damage


def _json(reader: TraceReader) -> str:
    document = {
        "whole": _is_whole(reader),
        "finished": reader.finished,
        "blocks": len(reader.blocks),
        "bytes": reader.size,
        "damage": [{"offset": item.offset, "length": item.length, "what": item.what} for item in reader.damage],
        "notices": reader.notices,
    }
    return json.dumps(document, indent=2)


def _lines(path: Path, reader: TraceReader) -> list[str]:
    damage = [_line(item) for item in reader.damage]
    verdict = "whole" if _is_whole(reader) else f"NOT whole: {len(damage)} damaged or missing"
    end = "ended" if reader.finished else "not ended"
    return [*damage, *reader.notices, f"{path}: {len(reader.blocks)} blocks, {reader.size} bytes, {end}: {verdict}"]


def _line(item: Damage) -> str:
    extent = f"{item.length} bytes: " if item.length else ""
    return f"byte {item.offset}: {extent}{item.what}"
