"""The BPF program, made from the declared sources, compiled by bcc and attached as raw tracepoints.

Raw tracepoints, because each program then has a recursion guard of its own: programs attached through perf share one
guard per CPU, and an interrupt's waking that arrives while another runs is skipped before any counter sees it. They need
no tracefs either, and cannot hide events from other users of perf as a perf-attached program that returns 0 does.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fcntl import ioctl
from operator import add
from pathlib import Path
from types import ModuleType
from typing import Any

from offwake.errors import CannotRecord
from offwake.recorder.bcc_module import compiling
from offwake.recorder.btf import Btf
from offwake.recorder.code_map import CODE_ANYWHERE, CODE_WORDS
from offwake.recorder.program_text import Build, common_text, source_text, with_numbers, without_lacking
from offwake.recorder.python import PYTHON_CODE, Interpreter
from offwake.recorder.sources import Event, Source

__all__ = ["ALONE", "MEMBER", "Program", "Tally", "event_kinds"]

USER_STACK_PROGRAMS = {b"from_tracepoint": "any", b"from_sample": ""}
"""Tables of the programs that look through user stacks and walk Python's, and what they are called from, as Event.tracepoint
has it."""
CODE_IS_TRUE, CODE_IS_PYTHON = 1, 2  # TRUE and IS_PYTHON of user_stack.bpf.c
FORK, WATCHED = "sched_process_fork", ("sched_process_exec", "module_free")
"""Tracepoints at which a thread becomes a member, and at which what stacks rest on is no longer true. A kernel may have no
modules."""
MEMBER, ALONE = 0, 254  # as in members.bpf.c
HASH_FACTOR, BUCKET_BITS = 0x9E3779B97F4A7C15, 15  # as in kernel_stack.bpf.c
PERF_EVENT_IOC_SET_BPF = 0x40042408


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
    """Number the events of the sources, and what is sent beside user stacks: the `kind` that opens every payload, from 1."""
    events = [event for source in sources for event in source.events]
    return {event.name: kind for kind, event in enumerate([*events, PYTHON_CODE], start=1)}


@dataclass
class Program:
    """The compiled programs of some sources. Close it to detach. `build` may be less than what was asked for."""

    bcc: ModuleType
    sources: list[Source]
    kinds: dict[str, int]
    build: Build
    unavailable: dict[str, str] = field(default_factory=dict)
    _modules: list[tuple[Any, list[Source]]] = field(default_factory=list)
    _attached: set[str] = field(default_factory=set)
    _watched: list[str] = field(default_factory=list)
    _watching: list[tuple[Any, str]] = field(default_factory=list)
    _frames: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    _descriptors: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def compile(bcc: ModuleType, sources: list[Source], build: Build) -> "Program":
        """Compile the sources together, or one by one where that fails, so that a failing one costs only itself.

        Where the kernel cannot look through user stacks it walks them. Raises CannotRecord when no source is left.
        """
        kinds, btf = event_kinds(sources), Btf()
        plain = [replace(source, events=()) for source in sources if source.sampling]
        program = Program(bcc, plain, kinds, build)
        watched = [FORK] * build.narrowed + [*WATCHED] * bool(build.user_stack_bytes)
        program._watched = [name for name in watched if btf.has_tracepoint(name)]
        texts, compiled = {}, []
        takes_samples = build.user_stack_bytes or build.narrowed
        for source in (source for source in sources if source.events and (takes_samples or not source.sampling)):
            reduced, lacking = without_lacking(with_numbers(source) if build.numbered else source, btf)
            program.unavailable |= lacking
            try:
                texts[source.name] = source_text(reduced, btf)
                compiled.append(reduced)
            except KeyError as error:
                program.unavailable[source.name] = str(error.args[0])
        try:
            prelude = common_text(kinds, btf, build)
        except KeyError as error:
            return _with_frame_pointers(bcc, sources, build, str(error.args[0]))
        try:
            program._load(prelude, compiled, texts)
        except CannotRecord:
            for source in compiled:
                try:
                    program._load(prelude, [source], texts)
                except CannotRecord as error:
                    if build.user_stack_bytes and source.program:  # a source with a program of its own walks stacks
                        program.close()
                        return _with_frame_pointers(bcc, sources, build, str(error))
                    program.unavailable[source.name] = str(error)
        if texts and not program._modules:
            why = program.unavailable[compiled[0].name]
            hint = "; it takes CAP_BPF and CAP_PERFMON, or a privileged container" if "not permitted" in why else ""
            raise CannotRecord(why + hint)
        return program

    def _load(self, prelude: str, sources: list[Source], texts: dict[str, str]) -> None:
        if not sources:
            return
        with compiling() as messages:
            try:
                text = prelude + "".join(texts[source.name] for source in sources)
                module = self.bcc.BPF(text=text.encode())
                for event in _events(sources):
                    module.load_func(_function_name(event), self._type(event.tracepoint))
                for watched in self._watched:
                    module.load_func(b"on_" + watched.encode(), self.bcc.BPF.RAW_TRACEPOINT)
                if self.user_stack_bytes:
                    for table, tracepoint in USER_STACK_PROGRAMS.items():
                        for number, program in enumerate((b"look_on_", b"walk_python_")):
                            function = module.load_func(program + table, self._type(tracepoint))
                            module[table][ctypes.c_int(number)] = ctypes.c_int(function.fd)
            except Exception as error:  # bcc raises bare Exception for whatever clang or the verifier refuse
                messages.seek(0)
                said = [line.decode(errors="replace").strip() for line in messages]
                first = next((line for line in said if "error" in line.lower()), said[-1] if said else "")
                raise CannotRecord(f"the BPF program was refused: {error}: {first}") from error
        self._modules.append((module, sources))
        loaded = {source.name for source in sources}
        self.sources = [source for source in self.sources if source.name not in loaded] + sources
        if self.user_stack_bytes:
            self.set_code(0, CODE_ANYWHERE)

    @property
    def user_stack_bytes(self) -> int:
        """How much of a user stack is looked through for what an unwinder needs; 0 where the kernel walks them."""
        return self.build.user_stack_bytes

    def _type(self, tracepoint: str) -> int:
        kind: int = self.bcc.BPF.RAW_TRACEPOINT if tracepoint else self.bcc.BPF.PERF_EVENT
        return kind

    def attach(self) -> None:
        """Attach every program. A tracepoint that this kernel lacks makes its source unavailable."""
        for module, sources in self._modules:
            for watched in self._watched:
                module.attach_raw_tracepoint(watched.encode(), b"on_" + watched.encode())
                self._watching.append((module, watched))
            for source in sources:
                for event in source.attached:
                    try:
                        module.attach_raw_tracepoint(event.tracepoint.encode(), _function_name(event))
                    except Exception as error:  # bcc raises bare Exception
                        self.unavailable[source.name] = f"this kernel has no tracepoint {event.tracepoint} ({error})"
                        self._detach(module, source)
                        self.sources.remove(source)
                        break
                    self._attached.add(event.tracepoint)
                    self._descriptors[event.tracepoint] = module.funcs[_function_name(event)].fd
        if not self.sources:
            raise CannotRecord("; ".join(f"{name}: {why}" for name, why in self.unavailable.items()))

    def _detach(self, module: Any, source: Source) -> None:
        for event in source.events:
            if event.tracepoint in self._attached:
                module.detach_raw_tracepoint(event.tracepoint.encode())
                self._attached.remove(event.tracepoint)

    def detach(self) -> None:
        """Detach every program; the counters stay readable."""
        while self._watching:
            module, watched = self._watching.pop()
            module.detach_raw_tracepoint(watched.encode())
        for module, sources in self._modules:
            for source in sources:
                self._detach(module, source)

    def close(self) -> None:
        """Detach and free everything."""
        self.detach()
        for module, _ in self._modules:
            module.cleanup()
        self._modules.clear()

    def send_to(self, cpu: int, outputs: dict[str, int]) -> None:
        """Let the programs write one CPU's events through these perf event descriptors, by the outputs' names."""
        for module, _ in self._modules:
            for name, descriptor in outputs.items():
                table = module[name.encode()]
                # Past bcc's own PerfEventArray, which insists on opening the buffer itself.
                super(type(table), table).__setitem__(table.Key(cpu), table.Leaf(descriptor))  # type: ignore[misc]

    def sample_with(self, source: str, descriptor: int) -> None:
        """Let a source's program, if it has one here, take the samples of this perf event."""
        for module, sources in self._modules:
            for event in (event for loaded in sources if loaded.name == source for event in loaded.events):
                ioctl(descriptor, PERF_EVENT_IOC_SET_BPF, module.funcs[_function_name(event)].fd)

    def set_member(self, tid: int, rank: int | None) -> None:
        """Make a thread a member of a narrowed recording (MEMBER, or ALONE: without its children); None: no longer."""
        for module, _ in self._modules:
            table = module[b"ranks"]
            key, library = ctypes.byref(table.Key(tid)), self.bcc.libbcc.lib
            if rank is None:
                library.bpf_delete_elem(table.map_fd, key)
            else:
                library.bpf_update_elem(table.map_fd, key, ctypes.byref(ctypes.c_uint8(rank)), 0)

    def set_helper(self, tgid: int) -> None:
        """Name a second process whose threads get no stacks; 0 for none."""
        for module, _ in self._modules:
            module[b"own"][0] = ctypes.c_uint32(tgid)

    def trigger_hits(self) -> int:
        """Count the waits so far that the trigger is about."""
        maps = [module[b"trigger_hits"] for module, _ in self._modules if self.build.trigger]
        return sum(int(hits[0].value) for hits in maps)

    def set_code(self, tgid: int, code: list[int] | None, may_be_python: bool = True) -> None:
        """Say where a process has its code (see code_map.py); None when it is gone. Where there is no room for it, it is
        taken to be anywhere."""
        flags = CODE_IS_TRUE | (CODE_IS_PYTHON if may_be_python else 0)
        value = (ctypes.c_uint64 * (CODE_WORDS + 1))(*(code or CODE_ANYWHERE), flags)
        for module, _ in self._modules:
            table = module[b"code_of"]
            key, library = ctypes.byref(table.Key(tgid)), self.bcc.libbcc.lib
            if code:
                library.bpf_update_elem(table.map_fd, key, ctypes.byref(value), 0)
            else:
                library.bpf_delete_elem(table.map_fd, key)

    def set_python(self, tgid: int, interpreter: Interpreter | None) -> None:
        """Say that a process is a Python, and where its frames are; None when it is none."""
        for module, _ in self._modules:
            table = module[b"python_of"]
            key, library = ctypes.byref(table.Key(tgid)), self.bcc.libbcc.lib
            if interpreter:
                library.bpf_update_elem(table.map_fd, key, ctypes.byref(table.Leaf(*interpreter.words())), 0)
            else:
                library.bpf_delete_elem(table.map_fd, key)

    def set_frame(self, address: int, step: int) -> None:
        """Say how far it is from a return address of the kernel to the next one, see kernel_frames.py; 0: not known."""
        bucket = (address * HASH_FACTOR & (1 << 64) - 1) >> 64 - BUCKET_BITS
        frames = [frame for frame in self._frames.get(bucket, []) if frame[0] != address]
        if len(frames) < 2 and step:
            frames.append((address, step))
        self._frames[bucket] = frames
        words = [word for frame in [*frames, (0, 0), (0, 0)][:2] for word in frame]
        value = (ctypes.c_uint64 * len(words))(*words)
        for module, _ in self._modules:
            table = module[b"frames"]
            self.bcc.libbcc.lib.bpf_update_elem(table.map_fd, ctypes.byref(table.Key(bucket)), ctypes.byref(value), 0)

    def take_unsure(self) -> bool:
        """Tell whether a module of the kernel was unloaded since the last call: other code may lie in its place."""
        is_unsure = False
        for module, watched in self._watching:
            if watched == "module_free" and module[b"unsure"][0].value:
                module[b"unsure"][0] = ctypes.c_uint64(0)
                is_unsure = True
        return is_unsure

    def begin_segment(self) -> None:
        """Have every user stack sent once more: a segment can be read without those before it."""
        for module, _ in self._modules if self.user_stack_bytes else ():
            table = module[b"segment"]
            table[0] = table.Leaf(table[0].value + 1)

    @property
    def beside(self) -> tuple[Event, ...]:
        """The events of no source, which are sent beside user stacks."""
        return (PYTHON_CODE,) if self.user_stack_bytes else ()

    def tallies(self) -> dict[int, dict[int, Tally]]:
        """Read what was attempted, stored and lost: by CPU, then by kind of event."""
        found: dict[int, dict[int, Tally]] = {}
        for module, sources in self._modules:
            table = module[b"tallies"]
            for event in (*_events(sources), *self.beside):
                kind = self.kinds[event.name]
                for cpu, leaf in enumerate(table[ctypes.c_int(kind)]):
                    before = found.setdefault(cpu, {}).get(kind, Tally())
                    found[cpu][kind] = before + Tally(leaf.attempted, leaf.stored, leaf.failed, leaf.no_ring)
        return found

    def can_be_read(self) -> bool:
        """Tell whether the counters can be read with the privileges that the calling thread has."""
        try:
            self.tallies()
        except KeyError:  # what bcc makes of EPERM
            return False
        return True

    def recursion_misses(self) -> dict[str, int]:
        """Count the events that the kernel skipped because the same program was already running, by tracepoint."""
        missed = {}
        for tracepoint, descriptor in self._descriptors.items():
            try:
                text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
            except OSError:
                continue
            missed[tracepoint] = int(dict(line.split(":", 1) for line in text.splitlines()).get("recursion_misses", 0))
        return missed


def _events(sources: list[Source]) -> Iterator[Event]:
    for source in sources:
        yield from source.events


def _with_frame_pointers(bcc: ModuleType, sources: list[Source], build: Build, why: str) -> Program:
    program = Program.compile(bcc, sources, replace(build, user_stack_bytes=0))
    program.unavailable["whole user stacks"] = f"{why}; they are walked by frame pointers"
    return program


def _function_name(event: Event) -> bytes:
    return f"on_{event.name}".encode()
