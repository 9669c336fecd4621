"""The text of the BPF programs, made from the declared sources and what BTF says of the running kernel.

Members of kernel structs are reached by their offsets, which the text has as numbers: no header is needed.
"""

import pkgutil
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from offwake.recorder.kernel.btf import Btf
from offwake.recorder.programs.trigger import Trigger
from offwake.recorder.sources import Counting, Event, Field, Source
from offwake.recorder.stacks.python import PYTHON_CODE

__all__ = ["STEPS", "Build", "common_text", "source_text", "with_numbers", "without_addresses", "without_lacking"]

PRELUDE = ("prelude", "uprobes")
MEMBERS, WAITED = ("members",), ("waited",)
STACKS = ("batch", "stacks", "kernel_stack", "returns", "user_stack", "ways", "user_frames", "python_stack", "send")
"""In the order in which they need each other."""
KERNEL_STACK_BYTES = 16 << 10  # THREAD_SIZE of x86-64, where nothing checks memory
USER_REGISTERS = {"IP": "ip", "SP": "sp", "BP": "bp", "BX": "bx", "DI": "di", "CS": "cs"}
"""What an unwinder begins with, as members of x86-64's pt_regs."""
RETURNS = {
    "TASK_UPROBES": "task_struct.utask",
    "UPROBES_RETURNS": "uprobe_task.return_instances",
    "RETURN_AT": "return_instance.stack",
    "RETURN_TO": "return_instance.orig_ret_vaddr",
    "RETURN_NEXT": "return_instance.next",
    "MM_TRAMPOLINES": "mm_struct.uprobes_state.xol_area",
    "TRAMPOLINES_BEGIN": "xol_area.vaddr",
}
"""Where the kernel keeps the return addresses that it replaced, if it can (CONFIG_UPROBES)."""
CONTEXTS = {"from_tracepoint": "bpf_raw_tracepoint_args", "from_sample": "bpf_perf_event_data"}
STEPS = {"from_tracepoint": ("look_on", "walk_python", "follow_frames"), "from_sample": ("look_on", "walk_python")}
"""The programs that a user stack is gone through with, by the table in which they find each other, in the order of their
numbers there; see send.bpf.c."""
STEP = """
int {step}_{table}(struct {context} *ctx)
{{
    u32 zero = 0, next;
    struct stacks *stack = scratch.lookup(&zero);

    if (!stack)
        return 0;
    next = step_{step}(ctx, stack);
    {table}.call(ctx, next);
    return stopped(ctx, stack, next);
}}
"""
C_TYPES = {"u1": "u8", "u2": "u16", "u4": "u32", "u8": "u64", "i4": "s32", "i8": "s64"}
ARGUMENT = re.compile(r"args\[(\d)\](?:->(.+))?")
POINTED_TO = re.compile(r"args\[(\d)\]->(\w+)")
BRACED = re.compile(r"\{(.+?)\}")
SINCE = re.compile(r"since (\w+)")
OF_KERNEL = re.compile(r"\b(OFFSET|VALUE|ARGUMENTS)\(([\w.]+)\)")
"""In a source's own program, or in a condition: where a struct's member lies, what number an enumeration's name is, and how
many arguments a tracepoint has."""
CURRENT = {"tid": "(u32)bpf_get_current_pid_tgid()", "tgid": "bpf_get_current_pid_tgid() >> 32"}


@dataclass(frozen=True)
class Build:
    """What the programs are to do, whatever the sources.

    `recorder` is the process whose threads get no stacks: this one. Of user stacks `user_stack_bytes` are looked through, a
    power of two; with 0 the kernel walks them. `narrowed`: stacks are those of members, and of who wakes them. Without
    `wakers` a waking has no stack; with `min_block_ns` it has one only if the wait was as long. `trigger` counts waits.

    Without `may_goto` loops are those that every verifier takes, see stacks.bpf.c.

    Two builds are for tests alone. `numbered`: every event ends in a number, counted by CPU and kind of event from 0, so
    that what is missing shows. `walked`: the kernel walks its stack for every event, also where the stack's id is known.
    `redacted`: IP addresses are left out, see redaction.py.
    """

    recorder: int
    user_stack_bytes: int = 0
    narrowed: bool = False
    wakers: bool = True
    min_block_ns: int = 0
    trigger: Trigger | None = None
    may_goto: bool = True
    numbered: bool = False
    walked: bool = False
    redacted: bool = False

    def defines(self) -> dict[str, int]:
        """Return the C names that say so."""
        found: dict[str, int] = {}
        if self.min_block_ns or self.trigger:
            found |= {"WAITED": 1, "MIN_BLOCK_NS": self.min_block_ns}
        if self.trigger:
            first, second = (int.from_bytes(part, "little") for part in _halves(self.trigger.comm))
            found |= {"TRIGGER_NS": self.trigger.blocked_ns, "TRIGGER_PID": self.trigger.pid}
            found |= {"TRIGGER_COMM_0": first, "TRIGGER_COMM_1": second}
        switches = {"NARROWED": self.narrowed, "NO_WAKERS": not self.wakers}
        switches |= {"NUMBERED": self.numbered, "WALKED": self.walked, "REDACTED": self.redacted}
        return found | {name: 1 for name, on in switches.items() if on}


def common_text(kinds: dict[str, int], btf: Btf, build: Build, casts: dict[str, int]) -> str:
    """Return what all programs share: where tasks keep their ids, the outputs and the counters, how user stacks are had.

    `casts` are the numbers of casts.py, if any. Raises KeyError where this kernel lacks what user stacks take to
    be unwound.
    """
    defines = {f"KIND_{name}": kind for name, kind in kinds.items()} | build.defines()
    defines |= casts | {"KINDS": max(kinds.values()) + 1, "KERNEL_STACK_BYTES": KERNEL_STACK_BYTES}
    defines["TASK_STACK"] = btf.member("task_struct.stack").offset
    # Entries of hash maps are made as needed (BPF_F_NO_PREALLOC) where the kernel has an allocator for that which is safe
    # under any lock: since 6.1. Those of before take them from the start, and room for fewer processes has to do.
    defines["AS_NEEDED"], defines["PROCESSES"] = (1, 65536) if btf.has_member("bpf_htab.ma") else (0, 16384)
    for name, member in (("TASK_PID", "pid"), ("TASK_TGID", "tgid"), ("TASK_COMM", "comm")):
        defines[name] = btf.member(f"task_struct.{member}").offset
    arguments = btf.tracepoint_arguments("sched_switch")
    defines["SWITCH_PREV"], defines["SWITCH_NEXT"] = (i for i, name in enumerate(arguments) if name == "task_struct")
    if arguments[-1] == "4":  # prev_state became an argument in 5.18 (fa2c3254d7cf), and moved to the end in 5.19
        defines["SWITCH_STATE"] = len(arguments) - 1
    state = "__state" if btf.has_member("task_struct.__state") else "state"  # renamed in 5.14 (2f064a59a11f)
    defines["TASK_STATE"] = btf.member(f"task_struct.{state}").offset
    text = _common(PRELUDE)
    text += _common(MEMBERS) if build.narrowed else ""
    text += _common(WAITED) if "WAITED" in defines else ""
    if build.user_stack_bytes:
        if build.may_goto and btf.has_member("bpf_verifier_state.may_goto_depth"):
            defines["MAY_GOTO"] = 1
        defines["STACK_BITS"] = build.user_stack_bytes.bit_length() - 1
        for name, member in USER_REGISTERS.items():
            defines[f"REGS_{name}"] = btf.member(f"pt_regs.{member}").offset
        defines["TASK_MM"] = btf.member("task_struct.mm").offset
        defines["MM_START_STACK"] = btf.member("mm_struct.start_stack").offset
        defines["TASK_FS"] = btf.member("task_struct.thread.fsbase").offset
        if all(btf.has_member(member) for member in RETURNS.values()):
            defines |= {name: btf.member(member).offset for name, member in RETURNS.items()}
        text += _struct(PYTHON_CODE) + _common(STACKS)
        for table, steps in STEPS.items():
            text += "".join(STEP.format(step=step, table=table, context=CONTEXTS[table]) for step in steps)
    return "".join(f"#define {name} {value}{'ULL' * (value > 0x7FFFFFFF)}\n" for name, value in defines.items()) + text


def with_numbers(source: Source) -> Source:
    """Return the source with a number at the end of every event, see Build."""
    return replace(source, events=tuple(replace(e, fields=(*e.fields, Field("number", "u8"))) for e in source.events))


def without_addresses(source: Source) -> Source:
    """Return the source with nothing that fills in IP addresses."""
    return replace(
        source,
        events=tuple(
            replace(e, fields=tuple(replace(f, value="program") if f.is_address else f for f in e.fields))
            for e in source.events
        ),
    )


def without_lacking(source: Source, btf: Btf) -> tuple[Source, dict[str, str]]:
    """Return the source without the optional events that this kernel cannot give, and why not, by event."""
    source, lacking = replace(source, events=tuple(_of_this_kernel(event, btf) for event in source.events)), {}
    for event in (event for event in source.events if event.optional):
        try:
            _check_arguments(event, btf)
            _function(event, source, btf)
        except KeyError as error:
            lacking[event.name] = str(error.args[0])
            source = replace(source, events=tuple(other for other in source.events if other is not event))
    return source, lacking


def source_text(source: Source, btf: Btf) -> str:
    """Return a source's C text. Raises KeyError with what this kernel lacks."""
    for event in source.attached:
        _check_arguments(event, btf)
    structs = "".join(_struct(event) for event in source.events)
    structs += _counting(source.counting) if source.counting else ""
    own = _of_kernel(source.program, btf)
    declared = [event for event in source.events if f"{event.function}(" not in own and not source.probes]
    maps = [f"seen_{e.name}" for e in declared if e.once_per] + [f"noted_{e.name}" for e in declared if e.notes]
    tables = "".join(f'BPF_TABLE("lru_hash", u64, u64, {name}, 65536);\n' for name in maps)
    nesting = "".join(_common(("nested",)).replace("NAME", event.name) for event in declared if event.nests)
    return structs + tables + own + "".join(_function(event, source, btf) for event in declared) + nesting


def _of_this_kernel(event: Event, btf: Btf) -> Event:
    """Return an event at its older tracepoint if this kernel lacks the other, and with the older value of each field whose
    value it lacks."""

    def lacks(field: Field) -> bool:
        match = ARGUMENT.fullmatch(field.value)
        return bool(field.older and match and match[2] and not btf.has_member(match[2]))

    if event.older and not btf.has_tracepoint(event.tracepoint):
        event = replace(event, tracepoint=event.older)
    return replace(event, fields=tuple(replace(f, value=f.older) if lacks(f) else f for f in event.fields))


def _check_arguments(event: Event, btf: Btf) -> None:
    """Raise KeyError unless the tracepoint's arguments are what the event takes them for: kernels have moved some."""
    types = btf.tracepoint_arguments(event.tracepoint)
    for value in (event.when, *(field.value for field in event.fields)):
        for number, struct in POINTED_TO.findall(value):
            found = types[int(number)] if int(number) < len(types) else "nothing"
            if found and not btf.begins_with(struct, found):
                raise KeyError(f"this kernel's {event.tracepoint} has no {struct} as its argument {number}, but {found}")


def _halves(comm: str) -> tuple[bytes, bytes]:
    octets = comm.encode(errors="surrogateescape").ljust(16, b"\0")
    return octets[:8], octets[8:16]


def _common(names: tuple[str, ...]) -> str:
    return "".join((pkgutil.get_data("offwake.recorder", f"bpf/{name}.bpf.c") or b"").decode() for name in names)


def _struct(event: Event) -> str:
    return _struct_of(event.name, [field for field, _ in event.payload])


def _struct_of(name: str, fields: Sequence[Field]) -> str:
    lines = "".join(
        f"    {C_TYPES[f.type]} {f.name};\n" if f.type in C_TYPES else f"    u8 {f.name}[{f.size}];\n" for f in fields
    )
    return f"struct {name} {{\n{lines}}};\n"


def _counting(counting: Counting) -> str:
    """Return the map of a Counting, and a function that finds the place of a key in it, made if need be."""
    name = counting.name
    structs = _struct_of(f"{name}_key", counting.key) + _struct_of(f"{name}_value", (*counting.sums, *counting.most))
    return structs + _common(("counting",)).replace("NAME", name).replace("ENTRIES", str(counting.entries))


def _function(event: Event, source: Source, btf: Btf) -> str:
    """Return the program of an event that its declaration says all about; of one that nests, what its programs do."""
    head = f"static __always_inline int take_{event.name}" if event.nests else f"int {event.function}"
    lines = [
        f"{head}(struct bpf_raw_tracepoint_args *ctx)",
        "{",
        f"    struct {event.name} e = {{.kind = KIND_{event.name}}};",
    ]
    marks = {e.name: e.notes for e in source.events if e.notes}
    since = {f.name: match[1] for f in event.fields if (match := SINCE.fullmatch(f.value))}
    if missing := [mark for mark in since.values() if mark not in marks]:
        raise KeyError(f"this kernel lacks what it is timed from, {missing[0]}")
    fills = {f.name: f"    {_fill(f'e.{f.name}', f.size, f.value, btf)}" for f in event.fields if _is_filled_in(f)}
    # What tells whether it is recorded comes first, with the least reads: most events of such a kind end there.
    if event.once_per:
        lines += [fills.pop(event.once_per), *_unless_seen(event)]
    if event.when:
        lines.append(f"    if (!({_expression(_of_kernel(event.when, btf), btf)})) return 0;")
    if event.once_per:
        lines.append(f"    {{ u64 now = bpf_ktime_get_ns(); seen_{event.name}.update(&key, &now); }}")
    for name, mark in since.items():
        lines += [fills.pop(marks[mark], ""), *_since(f"e.{name}", f"e.{marks[mark]}", f"noted_{mark}")]
    lines += fills.values()
    for other in (other for other in source.events if event.forgets and other is not event):
        forgotten = [f"seen_{other.name}"] * (other.once_per == event.forgets)
        for table in forgotten + [f"noted_{other.name}"] * (other.notes == event.forgets):
            lines.append(f"    {{ u64 key = e.{event.forgets}; {table}.delete(&key); }}")
    if event.notes:
        lines.append(
            f"    {{ u64 key = e.{event.notes}, t = bpf_ktime_get_ns(); noted_{event.name}.update(&key, &t); }}"
        )
    emit = "emit_with_kernel_chain" if event.with_stack else "emit_nested" if event.nests else "emit_without_stack"
    lines += [f"    return {emit}(ctx, &e, sizeof(e), KIND_{event.name});" if event.sent else "    return 0;", "}", ""]
    return "\n".join(lines)


def _is_filled_in(field: Field) -> bool:
    return field.value != "program" and not SINCE.fullmatch(field.value)


def _unless_seen(event: Event) -> list[str]:
    """Return the lines after which an event is one that may be kept."""
    again = f" && bpf_ktime_get_ns() - *last < {event.again_after_ns}ULL" if event.again_after_ns else ""
    return [
        f"    u64 key = e.{event.once_per}, *last = seen_{event.name}.lookup(&key);",
        f"    if (last{again}) return 0;",
    ]


def _since(target: str, key: str, table: str) -> list[str]:
    """Return the lines that take back a time that was noted, after which there was one."""
    return [
        "    {",
        f"        u64 key = {key}, *then = {table}.lookup(&key);",
        "        if (!then) return 0;",
        f"        {target} = bpf_ktime_get_ns() - *then;",
        f"        {table}.delete(&key);",
        "    }",
    ]


def _of_kernel(text: str, btf: Btf) -> str:
    """Put in what the text of a source's own program asks of the running kernel."""

    def number(asked: re.Match[str]) -> str:
        what, name = asked.groups()
        if what == "OFFSET":
            return str(btf.member(name).offset)
        if what == "ARGUMENTS":
            return str(len(btf.tracepoint_arguments(name)))
        enum, _, member = name.partition(".")
        return str(btf.enum(enum)[member])

    return OF_KERNEL.sub(number, text)


def _expression(text: str, btf: Btf) -> str:
    """Return a C expression with what a field would hold in place of what is in braces."""
    return BRACED.sub(lambda braced: f"({{ u64 v = 0; {_fill('v', 8, braced[1], btf)} v; }})", text)


def _fill(target: str, room: int, value: str, btf: Btf) -> str:
    """Return the statement that puts a field's value into a C variable of `room` bytes."""
    if value in CURRENT:
        return f"{target} = {CURRENT[value]};"
    if "{" in value:
        return f"{target} = {_expression(value, btf)};"
    match = ARGUMENT.fullmatch(value)
    if not match:
        raise ValueError(f"{target}: {value!r} is not a value that a declaration can have")
    argument, path = f"ctx->args[{match[1]}]", match[2]
    if not path:
        return f"{target} = {argument};"
    member = btf.member(path)
    follow = "".join(f" p = read_u64(p + {offset});" for offset in member.pointers)
    place, size = f"p + {member.offset}", min(member.size, room)
    read = f"bpf_probe_read_kernel(&{target}, {size}, (void *)({place}))"
    if size in (1, 2, 4, 8):
        read = f"{target} = read_u{8 * size}({place})"
    return f"{{ u64 p = {argument};{follow} {read}; }}"
