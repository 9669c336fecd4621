"""The loaded BPF programs of a recording: attached as raw tracepoints, told what they must know, asked what they counted.

Raw tracepoints, because each program then has a recursion guard of its own: programs attached through perf share one
guard per CPU, and an interrupt's waking that arrives while another runs is skipped before any counter sees it. They need
no tracefs either, and cannot hide events from other users of perf as a perf-attached program that returns 0 does.
"""

import os
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fcntl import ioctl
from itertools import count
from operator import add
from typing import Any

from offwake.errors import CannotRecord
from offwake.format.records import Mmap2
from offwake.recorder.kernel.bpf_module import PERF_EVENT, U32, U64, Module, await_running
from offwake.recorder.kernel.uprobes import Site, attach_sites
from offwake.recorder.programs.batches import Batches
from offwake.recorder.programs.counted import CountedMap
from offwake.recorder.programs.probed_files import ProbedFiles
from offwake.recorder.programs.program_text import Build
from offwake.recorder.sources import Event, Source, Traced
from offwake.recorder.stacks.code_map import ANYWHERE, Code
from offwake.recorder.stacks.frame_rules import FrameRules
from offwake.recorder.stacks.python import PYTHON_CODE, Interpreter

__all__ = ["ALONE", "MEMBER", "Program", "Tally", "event_kinds"]

MEMBER, ALONE = 0, 254  # as in members.bpf.c
PERF_EVENT_IOC_SET_BPF = 0x40042408
PYTHON, TALLY = struct.Struct("<Q7I4x"), struct.Struct("<4Q")  # struct python and struct tally


@dataclass(frozen=True)
class Tally:
    """What became of one kind of event on one CPU, counted in the kernel.

    `no_ring` counts those of the failed that came while the CPU had no ring: it had just come online.
    """

    attempted: int = 0
    stored: int = 0
    failed: int = 0
    no_ring: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*map(add, self.as_row(), other.as_row()))

    def as_row(self) -> list[int]:
        """Return the counts as a TICK has them."""
        return [self.attempted, self.stored, self.failed, self.no_ring]


def event_kinds(sources: list[Source]) -> dict[str, int]:
    """Number the events of the sources, and what is sent beside user stacks: the `kind` that opens every payload, from 1.

    A number that a traced tracepoint opens its records with is left out.
    """
    events = [event for source in sources for event in source.events]
    taken = {traced.id for source in sources for traced in source.traced}
    numbers = (number for number in count(1) if number not in taken)
    return {event.name: kind for event, kind in zip([*events, PYTHON_CODE], numbers, strict=False)}


@dataclass
class Program:
    """The compiled programs of some sources. Close it to detach. `build` may be less than what was asked for."""

    sources: list[Source]
    kinds: dict[str, int]
    build: Build
    unavailable: dict[str, str] = field(default_factory=dict)
    enums: dict[str, dict[int, str]] = field(default_factory=dict)
    watched: list[str] = field(default_factory=list)
    _modules: list[tuple[Module, list[Source]]] = field(default_factory=list)
    _attached: dict[str, tuple[Module, str]] = field(default_factory=dict)
    _probes: dict[str, list[int]] = field(default_factory=dict)
    _probed: dict[str, ProbedFiles] = field(default_factory=dict)
    _counted: dict[str, CountedMap] = field(default_factory=dict)
    _batches: list[Batches] = field(default_factory=list)
    _unsent: dict[tuple[int, int], Tally] = field(default_factory=dict)  # what changes of a CPU's tally of a kind
    _frames: FrameRules = field(default_factory=FrameRules)
    _user_frames: FrameRules = field(default_factory=FrameRules)
    _learned: int = 0

    def take(self, module: Module, sources: list[Source]) -> None:
        """Own a module, with the programs of some sources in it."""
        self._modules.append((module, sources))
        for source, counting in ((source, source.counting) for source in sources if source.counting):
            maps = module.maps[counting.name], module.maps[f"{counting.name}_missed"]
            self._counted[source.name] = CountedMap(counting, *maps)
        loaded = {source.name for source in sources}
        self.sources = [source for source in self.sources if source.name not in loaded] + sources
        module.maps["own"].set(0, U32.pack(self.build.recorder))
        if self.user_stack_bytes:
            self._batches.append(Batches(module))
            self.set_code(0, ANYWHERE)

    @property
    def is_empty(self) -> bool:
        """Tell whether it has no module."""
        return not self._modules

    @property
    def user_stack_bytes(self) -> int:
        """How much of a user stack is looked through for what an unwinder needs; 0 where the kernel walks them."""
        return self.build.user_stack_bytes

    def attach(self) -> None:
        """Attach every program. A tracepoint that this kernel lacks makes its source unavailable."""
        for module, sources in self._modules:
            for watched in self.watched:
                module.attach(watched, f"on_{watched}")
            for source in sources:
                for event in source.attached:
                    try:
                        for function in event.functions:
                            module.attach(event.tracepoint, function)
                    except OSError as error:
                        why = f"this kernel has no tracepoint {event.tracepoint} ({error.strerror})"
                        self.unavailable[source.name] = why
                        self._detach(source)
                        self.sources.remove(source)
                        break
                    self._attached[event.name] = module, event.function
                if source.probes:
                    self._attach_probes(module, source)
        if not self.sources:
            raise CannotRecord("; ".join(f"{name}: {why}" for name, why in self.unavailable.items()))

    def _attach_probes(self, module: Module, source: Source) -> None:
        def attach(sites: list[Site]) -> str:
            try:
                self._probes[source.name] += attach_sites(module, sites)
            except OSError as error:
                return f"its probes were refused: {error.strerror}"
            finally:
                for file in {site.file for site in sites if site.file}:
                    file.close()
            return ""

        self._probes[source.name] = []
        if source.in_files:
            self._probed[source.name] = ProbedFiles(source, attach)
            why = self._probed[source.name].begin()
        else:
            why = attach(source.sites() if source.sites else [])
        if why:
            self.unavailable[source.name] = why
            self.sources.remove(source)
            del self._probes[source.name]
            return
        self._attached |= {function: (module, function) for function in source.probes}

    def follow(self, record: Mmap2) -> None:
        """Put probes into a file that a process has just mapped, where a source wants it."""
        for name, probed in self._probed.items():
            if name in self._probes:
                probed.follow(record)

    def take_probed(self) -> list[list[Any]]:
        """Return the files that were mapped since the last call and that sources wanted to probe, as a TICK has them."""
        return [row for probed in self._probed.values() for row in probed.take()]

    def _detach(self, source: Source) -> None:
        for probe in self._probes.pop(source.name, ()):
            os.close(probe)
        for event in source.events:
            if event.name in self._attached:
                module, _ = self._attached[event.name]
                for function in reversed(event.functions):
                    module.detach(function)

    def detach(self) -> None:
        """Detach every program, and wait until none runs any more; the counters stay readable."""
        self._detach_all()
        await_running()

    def _detach_all(self) -> None:
        for module, sources in self._modules:
            for watched in self.watched:
                module.detach(f"on_{watched}")
            for source in sources:
                self._detach(source)

    def close(self) -> None:
        """Detach and free everything."""
        self._detach_all()
        for module, _ in self._modules:
            module.close()
        self._modules.clear()

    def send_to(self, cpu: int, outputs: dict[str, int]) -> None:
        """Let the programs write one CPU's events through these perf event descriptors, by the outputs' names."""
        for module, _ in self._modules:
            for name, descriptor in outputs.items():
                module.maps[name].set(cpu, U32.pack(descriptor))

    def sample_with(self, source: str, descriptor: int) -> None:
        """Let a source's program, if it has one here, take the samples of this perf event."""
        for module, sources in self._modules:
            for event in (event for loaded in sources if loaded.name == source for event in loaded.events):
                ioctl(descriptor, PERF_EVENT_IOC_SET_BPF, module.load(event.function, PERF_EVENT))

    def set_member(self, tid: int, rank: int | None) -> None:
        """Make a thread a member of a narrowed recording (MEMBER, or ALONE: without its children); None: no longer."""
        self._set("ranks", tid, None if rank is None else bytes([rank]))

    def set_helper(self, tgid: int) -> None:
        """Name a second process whose threads get no stacks; 0 for none."""
        self._set("own", 1, U32.pack(tgid))

    def trigger_hits(self) -> int:
        """Count the waits so far that the trigger is about."""
        return sum(self._count("trigger_hits")) if self.build.trigger else 0

    def set_code(self, tgid: int, code: Code | None) -> None:
        """Say where a process has its code (see code_map.py); None when it is gone. Where there is no room for it, it is
        taken to be anywhere."""
        self._set("code_of", tgid, code.packed() if code else None)

    def set_python(self, tgid: int, interpreter: Interpreter | None) -> None:
        """Say that a process is a Python, and where its frames are; None when it is none."""
        self._set("python_of", tgid, PYTHON.pack(*interpreter.words()) if interpreter else None)

    def set_frame(self, address: int, step: int) -> None:
        """Say how far it is from a return address of the kernel to the next one, see kernel_frames.py; 0: not known."""
        self._set("frames", *self._frames.put(address, step))
        self._learned += 1
        self._set("learned", 0, U64.pack(self._learned))

    def set_user_frame(self, key: int, rule: int) -> None:
        """Say where the caller of a return address is, see user_frames.py; 0: not known."""
        self._set("user_frames", *self._user_frames.put(key, rule))

    def take_unsure(self) -> bool:
        """Tell whether a module of the kernel was unloaded since the last call: other code may lie in its place."""
        is_unsure = "module_free" in self.watched and any(self._count("unsure"))
        if is_unsure:
            self._set("unsure", 0, U64.pack(0))
        return is_unsure

    def send_waiting(self) -> None:
        """Have the events sent that wait to be sent together, as far as there is room in the rings."""
        for batches in self._batches:
            batches.send()

    def give_up_waiting(self, with_ring: set[int]) -> None:
        """Count what still waits as lost, and send nothing of it any more; `with_ring` are the CPUs that have a ring."""
        waiting: Counter[tuple[int, int]] = sum((batches.waiting() for batches in self._batches), Counter())
        for (cpu, kind), events in waiting.items():
            self._unsent[cpu, kind] = Tally(0, -events, events, 0 if cpu in with_ring else events)
        self._batches.clear()

    def begin_segment(self) -> None:
        """Have every stack sent once more: a segment can be read without those before it."""
        if self.user_stack_bytes:
            self._set("segment", 0, U64.pack(max(self._count("segment")) + 1))

    def _set(self, name: str, key: int, value: bytes | None) -> None:
        for module, _ in self._modules:
            if value is None:
                module.maps[name].delete(key)
            else:
                module.maps[name].set(key, value)

    def _count(self, name: str) -> list[int]:
        """Return the number in a map of one, of every module."""
        return [U64.unpack(module.maps[name].get(0))[0] for module, _ in self._modules]

    @property
    def beside(self) -> tuple[Event, ...]:
        """The events of no source, which are sent beside user stacks."""
        return (PYTHON_CODE,) if self.user_stack_bytes else ()

    def as_values(self) -> dict[str, Any]:
        """Return what the programs send, as a keyframe holds it."""
        events = [(source.name, event) for source in self.sources for event in source.events]
        return {
            "user_stack_bytes": self.user_stack_bytes,
            "kinds": [
                {
                    "id": self.kinds[event.name],
                    "name": event.name,
                    "source": source,
                    "size": event.size,
                    "fields": [[f.name, f.numpy_type, at] for f, at in event.payload],
                }
                for source, event in (*events, *(("", event) for event in self.beside))
            ]
            + [_traced_value(source, traced) for source in self.sources for traced in source.traced],
            "pairs": [
                {"first": first.name, "second": second.name, "by": [*source.pair]}
                for source in self.sources
                if source.pair
                for first, second in [source.traced]
            ],
            "counted": [
                {"name": counting.name, "source": source.name, "size": counting.size}
                | {"fields": [[f.name, f.numpy_type, at] for f, at in counting.payload]}
                | {"names": [list(pair) for pair in counting.names]}
                for source in self.sources
                if (counting := source.counting)
            ],
            "enums": self.enums,
            "probed": [row for probed in self._probed.values() for row in probed.as_values()],
            "sources": [source.name for source in self.sources],
            "unavailable": self.unavailable,
        }

    def tallies(self) -> dict[int, dict[int, Tally]]:
        """Read what was attempted, stored and lost: by CPU, then by kind of event."""
        found: dict[int, dict[int, Tally]] = {}
        for module, sources in self._modules:
            for event in (*_events(sources), *self.beside):
                kind = self.kinds[event.name]
                for cpu, counts in enumerate(module.maps["tallies"].by_cpu(kind)):
                    before = found.setdefault(cpu, {}).get(kind, Tally())
                    found[cpu][kind] = before + Tally(*TALLY.unpack(counts))
        for (cpu, kind), unsent in self._unsent.items():
            found[cpu][kind] += unsent
        return found

    def take_counted(self) -> dict[str, bytes]:
        """Return what the programs have added up since the last call, as a TICK has it: rows, by the map's name."""
        return {counted.counting.name: rows for counted in self._counted.values() if (rows := counted.take())}

    def counted(self) -> dict[str, int]:
        """Return how much was counted until `take_counted` was called last, by source."""
        return {name: counted.total for name, counted in self._counted.items()}

    def uncounted(self) -> int:
        """Count what there was no room to count."""
        return sum(counted.missed_count() for counted in self._counted.values())

    def can_be_read(self) -> bool:
        """Tell whether the counters can be read with the privileges that the calling thread has."""
        try:
            self.tallies()
        except PermissionError:
            return False
        return True

    def recursion_misses(self) -> dict[str, int]:
        """Count the events that the kernel skipped because the same program was already running, by event."""
        return {name: _missed(name, module, function) for name, (module, function) in self._attached.items()}


def _missed(name: str, module: Module, function: str) -> int:
    nested = module.maps[f"nested_{name}"].by_cpu(0) if f"nested_{name}" in module.maps else ()
    taken = sum(int(U64.unpack(count)[0]) for count in nested)
    return max(module.recursion_misses(function) - taken, 0)


def _events(sources: list[Source]) -> Iterator[Event]:
    for source in sources:
        yield from source.events


def _traced_value(source: Source, traced: Traced) -> dict[str, Any]:
    fields = [[f.name, f.numpy_type, at] for f, at in traced.payload]
    sizes = {"id": traced.id, "name": traced.name, "source": source.name, "size": traced.size}
    return sizes | {"fields": fields, "traced": True, "strings": [*traced.strings]}
