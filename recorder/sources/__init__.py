"""Event sources, each declared once.

A source is one module of this package with a `SOURCE`: its tracepoints, the fields that each event keeps, whether the
kernel walks the stack, and when. The BPF program and the layout of the records both come from that declaration, and the
layout travels in the file. Adding a source is adding a module. One whose name takes an argument (`trace:GROUP:NAME`) is a
module with a `FORM`, its `SUMMARY`, and `make`, which declares a Source by what follows the first colon.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from offwake.errors import UsageError
from offwake.recorder.kernel.uprobes import Site

__all__ = [
    "Counting",
    "Event",
    "Field",
    "InFiles",
    "Sampling",
    "Source",
    "Traced",
    "all_sources",
    "chosen_sources",
    "default_sources",
    "forms",
]


@dataclass(frozen=True)
class Field:
    """One field of an event's payload.

    `type` is a numpy type without byte order (all are little-endian). `value` says where it comes from:

    - `args[N]`: the raw tracepoint's argument;
    - `args[N]->struct.member.member`: a member of the struct it points to, found through BTF, 0 where a pointer is NULL;
      `member(struct)` says what struct lies in one, or where it points;
    - a C expression with such in braces: `{args[0]} ^ {args[1]}`;
    - `tid`, `tgid`: the current thread's;
    - `since EVENT`: nanoseconds since the event of this source that noted the same (see Event); without one, this is none;
    - `program`: the source's own BPF program fills it in.

    Where the kernel has no such member the value is `older`, if there is one. A field that `is_address` holds an IP address,
    and stays 0 in a recording that is redacted.
    """

    name: str
    type: str
    value: str = "program"
    is_address: bool = False
    older: str = ""

    @property
    def size(self) -> int:
        """Bytes that the field takes."""
        return int(self.type[1:])

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
    """What one raw tracepoint gives; without a `tracepoint`, what a program on the source's sampling clock does, or at its
    sites. A kernel that lacks it has it at the tracepoint `older`, if there is one.

    `when` is a C condition, evaluated before anything else is filled in; `{args[N]->struct.member}` in it is what a field of
    that value would hold. `once_per` names a field: only the first event for each value is kept, or with `again_after_ns`
    one in so long, until an event whose `forgets` names its field carries the same value. `notes` names a field by whose
    value the time of the event is remembered, for one other that is `since` it, and forgotten likewise; if it is not `sent`,
    that is all that it is for. `with_stack`: the kernel's stack goes with it. One that `nests` may come in an interrupt
    while its program runs, often enough to have a second program for that. An `optional` event is left out where the kernel
    lacks what it takes, with those that are `since` it; the rest of its source is recorded.
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
    nests: bool = False
    older: str = ""

    @property
    def function(self) -> str:
        """The name of its BPF program."""
        return f"on_{self.name}"

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of all programs at its tracepoint."""
        return (self.function, f"{self.function}_nested") if self.nests else (self.function,)

    @property
    def payload(self) -> tuple[tuple[Field, int], ...]:
        """The payload's fields and their offsets. Each opens with its kind, so that a reader can tell them apart."""
        return _placed((Field("kind", "u2"), Field("flags", "u2"), *self.fields))

    @property
    def size(self) -> int:
        """Bytes of the payload, the padding at its end included."""
        return _size(self.payload)


def _placed(fields: tuple[Field, ...]) -> tuple[tuple[Field, int], ...]:
    """Return fields with their offsets, as a C compiler lays them out."""
    placed, at = [], 0
    for field in fields:
        at += -at % field.alignment
        placed.append((field, at))
        at += field.size
    return tuple(placed)


def _size(placed: tuple[tuple[Field, int], ...]) -> int:
    last, at = placed[-1]
    return at + last.size + -(at + last.size) % max(field.alignment for field, _ in placed)


@dataclass(frozen=True)
class Counting:
    """What a source's program adds up in the map `name`, by a key; each second the file gets what was added.

    `sums` (u8) only grow, the first is how often; `most` (u8) are the largest of each so far. What the first field of the
    key numbers has `names`: its own, and where it is.
    """

    name: str
    key: tuple[Field, ...]
    sums: tuple[Field, ...]
    most: tuple[Field, ...] = ()
    entries: int = 16384
    names: tuple[tuple[str, str], ...] = ()

    @property
    def payload(self) -> tuple[tuple[Field, int], ...]:
        """The fields of a row, the key before the value, with their offsets."""
        key = _placed(self.key)
        return (*key, *((field, _size(key) + at) for field, at in _placed((*self.sums, *self.most))))

    @property
    def size(self) -> int:
        """Bytes of a row."""
        return _size(_placed(self.key)) + 8 * len((*self.sums, *self.most))


@dataclass(frozen=True)
class Sampling:
    """A clock that samples what runs: a plain perf event. The source's events are recorded in place of its samples, where a
    program of theirs takes them."""

    software_event: int
    hertz: int


@dataclass(frozen=True)
class Traced:
    """A tracepoint that the kernel itself records, by its id: the fields of its record, each with its offset, as tracefs
    says.

    `strings` names the fields that say where a text lies behind the others. The kernel records what fits the `filter`, in
    its own words.
    """

    name: str
    id: int
    payload: tuple[tuple[Field, int], ...]
    size: int
    strings: tuple[str, ...] = ()
    filter: str = ""
    with_stack: bool = False


@dataclass(frozen=True)
class InFiles:
    """Where a source's probes are: at the `sites` of every file that some process maps and whose path is `wanted`."""

    wanted: Callable[[str], bool]
    sites: Callable[[BinaryIO], list[Site]]


@dataclass(frozen=True)
class Source:
    """One event source. `program` is the text of a C file beside the declaration, for what that cannot say.

    `needs` names sources that are recorded with it. `enums` are C enumerations whose names the file keeps. `counters` reads
    numbers that only grow, by their names; how much they grew is kept once a second.
    `probes` are programs in it that run in user programs, or `in_kernel` at its functions; `sites` finds where, or
    `in_files` tells it of files, also of those that are mapped later. The two that are `traced` belong together by the
    fields of `pair`, if there are any. What is `counting` needs no events.
    """

    name: str
    summary: str
    events: tuple[Event, ...] = ()
    sampling: Sampling | None = None
    program: str = ""
    default: bool = False
    needs: tuple[str, ...] = ()
    enums: tuple[str, ...] = ()
    counters: Callable[[], dict[str, int]] | None = None
    sites: Callable[[], list[Site]] | None = None
    in_files: InFiles | None = None
    probes: tuple[str, ...] = ()
    traced: tuple[Traced, ...] = ()
    pair: tuple[str, ...] = ()
    counting: Counting | None = None
    in_kernel: bool = False

    @property
    def attached(self) -> tuple[Event, ...]:
        """The events that a tracepoint gives."""
        return tuple(event for event in self.events if event.tracepoint)

    @property
    def sampled(self) -> tuple[Event, ...]:
        """The events that the sampling clock gives."""
        return self.events if self.sampling else ()


def text_of(name: str) -> str:
    """Return the text of a C file that lies beside the declarations, also in an archive."""
    return (pkgutil.get_data(__name__, name) or b"").decode()


def all_sources() -> dict[str, Source]:
    """Import every module of this package and return the sources that need no argument, by name."""
    found: list[Source] = [module.SOURCE for module in _modules() if hasattr(module, "SOURCE")]
    return {source.name: source for source in found}


def forms() -> dict[str, str]:
    """Return how the sources that take an argument are written, with what they give."""
    return {module.FORM: module.SUMMARY for module in _modules() if hasattr(module, "FORM")}


def _modules() -> list[Any]:
    return [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]


def default_sources() -> list[str]:
    """Name the sources that are recorded when none are asked for."""
    return [source.name for source in all_sources().values() if source.default]


def chosen_sources(names: list[str]) -> list[Source]:
    """Look sources up by name, with those that they need. Raises UsageError for one that does not exist."""
    known = all_sources()
    makers = {module.FORM.partition(":")[0]: module.make for module in _modules() if hasattr(module, "FORM")}
    for name in names:
        what, colon, argument = name.partition(":")
        if colon and what in makers:
            known[name] = makers[what](argument)
        if name not in known:
            raise UsageError(f"unknown source {name!r}; there are {', '.join(sorted([*known, *forms()]))}")
    needed = [needs for name in names for needs in known[name].needs]
    chosen = [known[name] for name in dict.fromkeys([*names, *needed])]
    traced = [one.name for source in chosen for one in source.traced]
    if twice := [name for name in traced if traced.count(name) > 1]:
        raise UsageError(f"trace:{twice[0]} is named twice: a recording has a tracepoint once")
    return chosen
