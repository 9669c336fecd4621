"""What tracefs says of tracepoints: their ids, and how their arguments lie in a record.

Where it is not mounted, a child mounts it in a mount namespace of its own and reads what is asked: the host stays as it was.
"""

import ctypes
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from offwake.errors import CannotRecord, UsageError

__all__ = ["Format", "FormatField", "format_of", "parse_format", "tracepoints_of"]

TRACEFS = Path("/sys/kernel/tracing")
PLACES = (TRACEFS, Path("/sys/kernel/debug/tracing"))
NEWNS, PRIVATE, RECURSIVE = 0x20000, 1 << 18, 1 << 14  # CLONE_NEWNS, MS_PRIVATE, MS_REC
ANSWER_AT_MOST = 1 << 20
NAME = re.compile(r"[A-Za-z0-9_]\w*")
ID = re.compile(r"^ID: (\d+)$", re.MULTILINE)
FIELD = re.compile(r"^\tfield:(.+?)(\w+)(?:\[\w*\])?;\toffset:(\d+);\tsize:(\d+);\tsigned:([01]);$", re.MULTILINE)
NAMES_SHOWN = 12


@dataclass(frozen=True)
class FormatField:
    """A field of a tracepoint's record. A string that `is_elsewhere` is a number here: where it lies behind the fields."""

    name: str
    type: str
    at: int
    is_elsewhere: bool = False


@dataclass(frozen=True)
class Format:
    """A tracepoint's id, the fields of its record, and their bytes."""

    id: int
    fields: tuple[FormatField, ...]
    size: int


def format_of(group: str, name: str) -> Format:
    """Read a tracepoint's format. Raises UsageError for one that there is not, CannotRecord where tracefs cannot be read."""
    for part in (group, name):
        if not NAME.fullmatch(part):
            raise UsageError(f"trace:{group}:{name}: a tracepoint is named GROUP:NAME, as irq:softirq_entry")
    answer = _look_up(group, name)
    if text := answer.get("format"):
        return parse_format(str(text))
    near = answer["near"][:NAMES_SHOWN] if isinstance(answer["near"], list) else []
    others = f"in {group} there are {', '.join(near)}" if near else "`perf list tracepoint` names those that there are"
    raise UsageError(f"trace:{group}:{name}: this kernel has no such tracepoint; {others}")


def tracepoints_of(group: str) -> list[str]:
    """Name the tracepoints of a group, none of one that there is not. Raises CannotRecord where tracefs cannot be read."""
    if not NAME.fullmatch(group):
        raise UsageError(f"t:{group}: a tracepoint is named GROUP:NAME, as irq:softirq_entry")
    return [*_look_up(group, "")["near"]]


def parse_format(text: str) -> Format:
    """Read the text of a `format` file. Fields of more than eight bytes that are no text are left as bytes."""
    fields: list[FormatField] = []
    end = 0
    for kind, name, at, size, signed in FIELD.findall(text):
        begin, length = int(at), int(size)
        end = max(end, begin + length)
        if name in ("common_type", "common_flags", "common_preempt_count") or not length:
            continue
        is_text = "char" in kind.split() or kind.strip().endswith("char[]")
        if kind.startswith("__data_loc"):
            fields.append(FormatField(name, "u4", begin, is_elsewhere=kind.split()[1] in ("char[]", "char")))
        elif length in (1, 2, 4, 8):
            fields.append(FormatField(name, f"{'i' if signed == '1' else 'u'}{length}", begin))
        elif length < 10_000:
            fields.append(FormatField(name, f"{'S' if is_text else 'V'}{length}", begin))
    found = ID.search(text)
    if not found or not fields:
        raise CannotRecord("tracefs has a format that cannot be read; this version of offwake does not know it")
    return Format(int(found[1]), tuple(fields), end)


def _look_up(group: str, name: str) -> dict[str, str | list[str]]:
    """Read a format, or else the names of the group, in a child."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if not pid:
        _be_the_child(theirs, group, name)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        packed = pipe.read(ANSWER_AT_MOST)
    os.waitpid(pid, 0)
    answer = json.loads(packed or b'{"error": "the child that reads it was killed"}')
    if "error" in answer:
        raise CannotRecord(f"trace:{group}:{name}: tracefs cannot be read: {answer['error']}; run as root")
    return dict(answer)


def _be_the_child(pipe: int, group: str, name: str) -> NoReturn:
    try:
        try:
            events = _mounted() / "events" / group
            path = events / name / "format"
            answer: dict[str, str | list[str]] = {"near": []}
            if name and path.exists():
                answer = {"format": path.read_text()}
            elif events.is_dir():
                answer = {"near": sorted(one.name for one in events.iterdir() if one.is_dir())}
        except OSError as error:
            answer = {"error": error.strerror or str(error)}
        os.write(pipe, json.dumps(answer).encode())
    finally:
        os._exit(0)


def _mounted() -> Path:
    for place in PLACES:
        if (place / "events").is_dir():
            return place
    libc = ctypes.CDLL(None, use_errno=True)
    for failed in (
        libc.unshare(NEWNS),
        libc.mount(b"none", b"/", None, PRIVATE | RECURSIVE, None),
        libc.mount(b"tracefs", os.fspath(TRACEFS).encode(), b"tracefs", 0, None),
    ):
        if failed:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return TRACEFS
