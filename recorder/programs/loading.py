"""From declared sources to loaded programs: what this kernel lacks is left out, and what it refuses costs only itself."""

import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from offwake.errors import CannotRecord
from offwake.recorder.kernel.bpf_module import PERF_EVENT, RAW_TRACEPOINT, U32, Module
from offwake.recorder.kernel.btf import Btf
from offwake.recorder.kernel.casts import cast_numbers
from offwake.recorder.kernel.compiler import compiled
from offwake.recorder.kernel.uprobes import has_uprobes, probe_type
from offwake.recorder.programs.batches import SEND
from offwake.recorder.programs.program import Program, event_kinds
from offwake.recorder.programs.program_text import (
    STEPS,
    Build,
    common_text,
    source_text,
    with_numbers,
    without_addresses,
    without_lacking,
)
from offwake.recorder.sources import Source

__all__ = ["WHOLE_STACKS", "Possible", "load", "possible"]

STEP_TABLES = {"from_tracepoint": RAW_TRACEPOINT, "from_sample": PERF_EVENT}
"""What type of program the tables of STEPS hold."""
FORK, EXEC, EXIT, UNLOAD = "sched_process_fork", "sched_process_exec", "sched_process_exit", "module_free"
"""Tracepoints at which members become more, others and fewer, and at which what stacks rest on is no longer true. A kernel
may have no modules."""
WHOLE_STACKS = "whole user stacks"
"""What is lacking, beside sources, where the kernel walks user stacks."""
VERIFIERS_AT_MOST = 4


@dataclass
class Possible:
    """What a kernel has of some sources: those that it has, the text of each, the names of the numbers that they send; and
    a sentence by the name of each source, or optional event, that it lacks."""

    sources: list[Source] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    enums: dict[str, dict[int, str]] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)


def possible(sources: list[Source], btf: Btf) -> Possible:
    """Hold sources against what the kernel says that it has; nothing is loaded."""
    found = Possible()
    for source in sources:
        if source.probes and not source.in_kernel and not has_uprobes():
            found.lacking[source.name] = "this kernel has no uprobes"
            continue
        reduced, lacking = without_lacking(source, btf)
        found.lacking |= lacking
        try:
            text = source_text(reduced, btf)
            enums = {name: {value: text for text, value in btf.enum(name).items()} for name in source.enums}
        except KeyError as error:
            found.lacking[source.name] = str(error.args[0])
            continue
        found.sources.append(reduced)
        found.texts[source.name] = text
        found.enums |= enums
    return found


@contextmanager
def _unlimited() -> Iterator[None]:
    """Lift RLIMIT_MEMLOCK meanwhile: before Linux 5.11 maps and programs are charged to it, those of root too."""
    limits = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, limits)


@_unlimited()
def load(sources: list[Source], build: Build) -> Program:
    """Compile and load the programs of sources together, or one by one where that fails: a failing one costs only itself.

    Where the kernel cannot look through user stacks it walks them. Raises CannotRecord when no source is left.
    """
    btf = Btf()
    takes_samples = build.user_stack_bytes or build.narrowed
    have_programs = [source for source in sources if source.events or source.program]
    chosen = [source for source in have_programs if takes_samples or not source.sampling]
    found = possible([_built(source, build) for source in chosen], btf)
    plain = [replace(source, events=()) for source in sources if source.sampling or source.traced]
    program = Program(plain, event_kinds(sources), build, unavailable=found.lacking, enums=found.enums)
    watched = {FORK: build.narrowed, EXEC: build.narrowed or build.user_stack_bytes, UNLOAD: build.user_stack_bytes}
    watched[EXIT] = build.narrowed and "sched" not in {source.name for source in found.sources}
    program.watched = [name for name, is_watched in watched.items() if is_watched and btf.has_tracepoint(name)]
    try:
        prelude = common_text(program.kinds, btf, build, cast_numbers(btf))
    except KeyError as error:
        return _with_less(sources, build, str(error.args[0]))

    def take(some: list[Source]) -> None:
        program.take(_module(prelude + "".join(found.texts[source.name] for source in some), some, program), some)

    try:
        if found.sources:
            take(found.sources)
    except CannotRecord:
        for source in found.sources:
            try:
                take([source])
            except CannotRecord as error:
                if build.user_stack_bytes and source.program:  # a source with a program of its own walks stacks
                    program.close()
                    return _with_less(sources, build, str(error))
                program.unavailable[source.name] = str(error)
    if program.is_empty:
        program.build = replace(build, user_stack_bytes=0)
        if found.sources:
            why = program.unavailable[found.sources[0].name]
            hint = "; it takes CAP_BPF and CAP_PERFMON, or a privileged container" if "not permitted" in why else ""
            raise CannotRecord(why + hint)
    return program


def _built(source: Source, build: Build) -> Source:
    source = without_addresses(source) if build.redacted else source
    return with_numbers(source) if build.numbered else source


def _module(text: str, sources: list[Source], program: Program) -> Module:
    """Load every function that will run: the verifier goes through several at once, the longest first."""
    module = Module(compiled(text))
    steps = list(_steps(sources)) if program.user_stack_bytes else []
    types = {function: (STEP_TABLES[table], 0) for table, _, function in reversed(steps)}
    for source in sources:
        types |= {function: (RAW_TRACEPOINT, 0) for event in source.attached for function in event.functions}
        types |= {event.function: (PERF_EVENT, 0) for event in source.sampled}
        types |= dict.fromkeys(source.probes, probe_type(source.in_kernel)) if source.probes else {}
    types |= {f"on_{watched}": (RAW_TRACEPOINT, 0) for watched in program.watched}
    types |= {SEND: (RAW_TRACEPOINT, 0)} if program.user_stack_bytes else {}
    try:
        with ThreadPoolExecutor(VERIFIERS_AT_MOST) as pool:
            loaded = dict(zip(types, pool.map(lambda of: module.load(of, *types[of]), types), strict=True))
    except CannotRecord:
        module.close()
        raise
    for table, number, function in steps:
        module.maps[table].set(number, U32.pack(loaded[function]))
    return module


def _steps(sources: list[Source]) -> Iterator[tuple[str, int, str]]:
    """Yield the tables of STEPS that the programs of some sources use: a table, a place in it, a function."""
    for table in STEP_TABLES if any(source.sampled for source in sources) else ["from_tracepoint"]:
        for number, step in enumerate(STEPS[table]):
            yield table, number, f"{step}_{table}"


def _with_less(sources: list[Source], build: Build, why: str) -> Program:
    """Load what was refused with other loops, then without whole user stacks."""
    if build.may_goto:
        return load(sources, replace(build, may_goto=False))
    program = load(sources, replace(build, user_stack_bytes=0))
    program.unavailable[WHOLE_STACKS] = f"{why}; they are walked by frame pointers"
    return program
