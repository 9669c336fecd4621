"""Event sources, each declared once.

A source is one module of this package with a `SOURCE`: its tracepoints, the fields that each event keeps, whether the
kernel walks the stack, and when. The BPF program and the layout of the records both come from that declaration, and the
layout travels in the file. Adding a source is adding a module.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources.abc import Traversable

from offwake.errors import UsageError

__all__ = ["Event", "Field", "Sampling", "Source", "all_sources", "chosen_sources", "default_sources"]

SIZES = {"u1": 1, "u2": 2, "u4": 4, "u8": 8, "i4": 4, "i8": 8, "S16": 16, "S64": 64, "S128": 128, "V16": 16}


@dataclass(frozen=True)
class Field:
    """One field of an event's payload.

    `type` is a numpy type without byte order (all are little-endian). `value` says where it comes from:

    - `args[N]`: the raw tracepoint's argument;
    - `args[N]->struct.member.member`: a member of the struct it points to, found through BTF, 0 where a pointer is NULL;
      `member(struct)` says what struct lies in one;
    - `tid`, `tgid`: the current thread's;
    - `since EVENT`: nanoseconds since the event of this source that noted the same (see Event); without one, this is none;
    - `program`: the source's own BPF program fills it in.

    One that `is_address` holds an IP address, and stays 0 in a recording that is redacted.
    """

    name: str
    type: str
    value: str = "program"
    is_address: bool = False

    @property
    def size(self) -> int:
        """Bytes that the field takes."""
        return SIZES[self.type]

    @property
    def numpy_type(self) -> str:
        """The type as the file has it: with its byte order, where it has one."""
        return self.type if self.alignment == 1 else f"<{self.type}"

    @property
    def alignment(self) -> int:
        """Bytes of which the field's offset is a multiple. Strings and addresses are byte arrays."""
        return 1 if self.type[0] in "SV" else self.size


@dataclass(frozen=True)
class Event:
    """What one raw tracepoint gives; without a `tracepoint`, what a program on the source's sampling clock does.

    `when` is a C condition, evaluated before anything is filled in; `{args[N]->struct.member}` in it is what a field of that
    value would hold. `once_per` names a field: only the first event for each value is kept, or with `again_after_ns` one in
    so long, until an event whose `forgets` names its field carries the same value. `notes` names a field by whose value the
    time of the event is remembered, for one other that is `since` it, and forgotten likewise; if it is not `sent`, that is
    all that it is for. `with_stack`: the kernel's stack goes with it. An `optional` event is left out where the kernel lacks
    what it takes; the rest of its source is recorded.
    """

    name: str
    tracepoint: str
    fields: tuple[Field, ...]
    when: str = ""
    once_per: str = ""
    again_after_ns: int = 0
    notes: str = ""
    sent: bool = True
    forgets: str = ""
    with_stack: bool = False
    optional: bool = False

    @property
    def payload(self) -> tuple[tuple[Field, int], ...]:
        """The payload's fields and their offsets, as a C compiler lays them out.

        Every payload opens with its kind, so that a reader can tell them apart.
        """
        placed, at = [], 0
        for field in (Field("kind", "u2"), Field("flags", "u2"), *self.fields):
            at += -at % field.alignment
            placed.append((field, at))
            at += field.size
        return tuple(placed)

    @property
    def size(self) -> int:
        """Bytes of the payload, the padding at its end included."""
        last, at = self.payload[-1]
        return at + last.size + -(at + last.size) % max(field.alignment for field, _ in self.payload)


@dataclass(frozen=True)
class Sampling:
    """A clock that samples what runs: a plain perf event. The source's events are recorded in place of its samples, where a
    program of theirs takes them."""

    software_event: int
    hertz: int


@dataclass(frozen=True)
class Source:
    """One event source. `program` is a C file beside the declaration for what a declaration cannot say.

    `needs` names sources that are recorded with it. `enums` are C enumerations whose names the file keeps. `counters` reads
    numbers that only grow, by their names; how much they grew is kept once a second.
    """

    name: str
    summary: str
    events: tuple[Event, ...] = ()
    sampling: Sampling | None = None
    program: Traversable | None = None
    default: bool = False
    needs: tuple[str, ...] = ()
    enums: tuple[str, ...] = ()
    counters: Callable[[], dict[str, int]] | None = None

    @property
    def attached(self) -> tuple[Event, ...]:
        """The events that a tracepoint gives; the others are the sampling clock's."""
        return tuple(event for event in self.events if event.tracepoint)


def all_sources() -> dict[str, Source]:
    """Import every module of this package and return their sources by name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        source: Source = importlib.import_module(f"{__name__}.{module.name}").SOURCE
        found[source.name] = source
    return found


def default_sources() -> list[str]:
    """Name the sources that are recorded when none are asked for."""
    return [source.name for source in all_sources().values() if source.default]


def chosen_sources(names: list[str]) -> list[Source]:
    """Look sources up by name, with those that they need. Raises UsageError for one that does not exist."""
    known = all_sources()
    for name in names:
        if name not in known:
            raise UsageError(f"unknown source {name!r}; there are {', '.join(sorted(known))}")
    needed = [needs for name in names for needs in known[name].needs]
    return [known[name] for name in dict.fromkeys([*names, *needed])]
