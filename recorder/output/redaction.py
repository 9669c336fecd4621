"""`--redact`: what of a recording's texts could tell a command line, a host's name or an IP address, and is left out.

The addresses of sockets are left out in the kernel already (`Field.is_address`), and so is the name of a new thread that
looks like one: it is the kernel's own threads that are called after servers. Here are the texts that go through the
recorder. Paths of files stay as they are, since symbols rest on them; docs/recording.md says what else a file tells.
"""

import ipaddress
import os
import platform
import re
import struct
from hashlib import blake2b
from typing import Any

from offwake.format import values
from offwake.format.codec import Buffer
from offwake.format.layout import Kind
from offwake.format.records import RECORD_COMM

__all__ = ["HIDDEN", "looks_like_an_address", "redacted"]

HIDDEN = "(redacted)"
DOT_AFTER_DIGIT = re.compile(r"(?<=\d)\.")
IPV4 = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\d)")
IPV6 = re.compile(r"(?<![\w:])[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")
HOST_OF_URL = re.compile(r"(?<=://)[^/\s]+")
LONG_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{12,}")  # of a container, whose host name is the beginning of it
SALT = os.urandom(16)
HEADER = struct.Struct("<IHH")
COMM_AT = HEADER.size + 8  # behind process and thread


def redacted(kind: Kind, payload: Buffer) -> Buffer:
    """Return what is written in place of a block's payload (TraceWriter.edit)."""
    if kind == Kind.SIDEBAND:
        return _redacted_sideband(payload)
    if kind in (Kind.KEYFRAME, Kind.SNAPSHOT, Kind.SYMBOLS):
        return values.pack(_redacted_values(kind, values.unpack(bytes(payload))))
    return payload


def _redacted_values(kind: Kind, value: dict[str, Any]) -> dict[str, Any]:
    if kind == Kind.KEYFRAME:
        narrowing = value["narrowing"]
        narrowing = narrowing | {"cgroups": [_without_names(path) for path in narrowing["cgroups"]]}
        value = value | {"redacted": True, "host": "", "command": [], "narrowing": narrowing}
    if kind in (Kind.KEYFRAME, Kind.SNAPSHOT):
        cgroups = [[_without_names(path), pids] for path, pids in value["cgroups"]]
        value = value | {"threads": [_without_address(thread) for thread in value["threads"]], "cgroups": cgroups}
    if kind == Kind.SYMBOLS:
        jit = [[pid, [[start, size, _without_names(name)] for start, size, name in rows]] for pid, rows in value["jit"]]
        value = value | {"jit": jit}
    return value


def looks_like_an_address(comm: str) -> bool:
    """Tell whether a thread's name looks like an IP address, or the beginning of one, as sched.bpf.c does."""
    return len(DOT_AFTER_DIGIT.findall(comm)) >= 2 or comm.count(":") >= 2


def _without_address(thread: list[Any]) -> list[Any]:
    tid, tgid, comm, *rest = thread
    return [tid, tgid, HIDDEN if looks_like_an_address(comm) else comm, *rest]


def _without_names(text: str) -> str:
    """Return a text without IP addresses, hosts of URLs, this host's name and, for another number, ids of containers."""
    text = HOST_OF_URL.sub(HIDDEN, text)
    text = IPV4.sub(HIDDEN, text)
    text = IPV6.sub(lambda found: HIDDEN if _is_address(found[0]) else found[0], text)
    if host := platform.node():
        text = re.sub(rf"(?<![0-9A-Za-z]){re.escape(host)}(?![0-9A-Za-z])", lambda _: HIDDEN, text)
    return LONG_ID.sub(lambda found: _other_id(found[0]), text)


def _other_id(text: str) -> str:
    """Return an id of the same length, always the same for the same id in this recording."""
    return blake2b(text.encode(), key=SALT, digest_size=32).hexdigest().ljust(len(text), "0")[: len(text)]


def _is_address(text: str) -> bool:
    try:
        return any(ipaddress.ip_address(text).packed)
    except ValueError:
        return False


def _redacted_sideband(span: Buffer) -> bytes:
    octets = bytearray(span)
    at = 0
    while at + HEADER.size <= len(octets):
        kind, _, size = HEADER.unpack_from(octets, at)
        if size < HEADER.size:
            break
        if kind == RECORD_COMM:
            end = octets.find(b"\0", at + COMM_AT, at + size)
            name = octets[at + COMM_AT : end]
            if end > 0 and looks_like_an_address(name.decode(errors="surrogateescape")):
                octets[at + COMM_AT : end] = HIDDEN.encode().ljust(len(name), b"\0")[: len(name)]
        at += size
    return bytes(octets)
