"""Can this machine record? Everything that a recording takes, tried as far as this user may, and nothing left behind.

What a recording asks of the kernel is really asked for: a program is loaded and attached, every CPU's ring is opened, with
the memory of a recording, the programs of all sources are compiled. Version numbers and settings only explain.
"""

import importlib.util
import os
import platform
import shutil
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from types import ModuleType

from offwake.errors import CannotRecord
from offwake.recorder.host.machine_checks import (
    LIMITED,
    MISSING,
    OK,
    Check,
    architecture,
    capabilities,
    initial_pid_namespace,
    initial_time_namespace,
    root,
)
from offwake.recorder.host.snapshot import lines_of, online_cpus
from offwake.recorder.kernel.bcc_module import compiling, load_bcc
from offwake.recorder.kernel.btf import VMLINUX, Btf
from offwake.recorder.kernel.perf_event import EventSpec, counts_lost, open_event
from offwake.recorder.kernel.ring import Ring, ring_pages
from offwake.recorder.programs.availability import availability
from offwake.recorder.programs.loading import load
from offwake.recorder.programs.program_text import Build
from offwake.recorder.sources import Event, Field, Source, all_sources

__all__ = ["examine"]

BUFFER_MB, RESERVE_PERCENT = 64, 5  # the defaults of --buffer-mb and --reserve
OLDEST_KERNEL = (5, 8)
LOCKDOWN = Path("/sys/kernel/security/lockdown")
SETTINGS = ("perf_event_paranoid", "perf_event_mlock_kb", "unprivileged_bpf_disabled")
UNUSED = "no source of this version needs it"
TRIAL = Source("trial", "", (Event("trial", "sched_process_exec", (Field("tid", "u4", "tid"),)),))


def examine() -> list[Check]:
    """Make every check; the machine can record when none is MISSING."""
    found = [architecture(), root(), initial_pid_namespace(), initial_time_namespace(), kernel(), btf(), python()]
    found += [library("msgpack"), library("zstandard"), lockdown(), settings(), kallsyms(), disk(), *mechanisms()]
    if os.geteuid() == 0:
        found.append(capabilities())
    try:
        bcc = load_bcc()
    except CannotRecord as error:
        return [*found, _refusal("bcc", error)]
    found.append(Check("bcc", OK, bcc.__version__))
    if any(check.verdict == MISSING for check in found):
        return [*found, Check("bpf", LIMITED, "it was not tried", "mend first what is missing")]
    return [*found, bpf(), rings(), *programs(), fentry(bcc)]


def kernel() -> Check:
    """Tell the kernel's release. What an older one lacks the other checks find out."""
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers < OLDEST_KERNEL:
        return Check("kernel", LIMITED, f"Linux {release} is older than 5.8, which offwake is made for", "update it")
    return Check("kernel", OK, f"Linux {release}")


def btf() -> Check:
    """Tell whether the kernel describes its structs."""
    try:
        Btf()
    except CannotRecord as error:
        return _refusal("btf", error)
    return Check("btf", OK, str(VMLINUX))


def python() -> Check:
    """Tell Python's version; an older one than 3.11 does not get here."""
    return Check("python", OK, platform.python_version())


def library(name: str) -> Check:
    """Tell the version of a library that a recording is written with."""
    if importlib.util.find_spec(name) is None:
        return Check(name, MISSING, f"Python has no {name}", f"install it with `apt-get install python3-{name}`")
    try:
        return Check(name, OK, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, OK, "of no known version")


def bpf() -> Check:
    """Load and attach one small program."""
    try:
        program = load([TRIAL], Build(os.getpid()))
        try:
            program.attach()
        finally:
            program.close()
    except CannotRecord as error:
        return _refusal("bpf", error)
    return Check("bpf", OK, "raw tracepoints can be attached")


def rings() -> Check:
    """Open every CPU's ring, in the memory that a recording takes by default."""
    cpus = online_cpus()
    with ExitStack() as stack:
        try:
            for cpu in cpus:
                event = open_event(EventSpec.with_stack(), cpu, 1)
                stack.callback(os.close, event.fd)
                stack.enter_context(Ring(event, ring_pages(BUFFER_MB << 20, len(cpus))))
        except CannotRecord as error:
            return _refusal("rings", error)
        what = f"{BUFFER_MB} MiB on {len(cpus)} CPU{'s' if len(cpus) > 1 else ''}"
        if not counts_lost(event):
            return Check("rings", LIMITED, f"{what}; the kernel does not count lost samples, as Linux does from 6.0 on")
    return Check("rings", OK, what)


def programs() -> list[Check]:
    """Compile and load the programs of all sources: which of them this kernel takes, and how user stacks are had."""
    found = availability(list(all_sources().values()))
    if found.unchecked:
        return [Check("sources", MISSING, found.unchecked)]
    lacking = "; ".join(f"{name}: {why}" for name, why in found.lacking.items())
    return [
        Check("sources", LIMITED, f"without {lacking}") if lacking else Check("sources", OK, "all"),
        Check("user stacks", LIMITED, found.why_no_whole_stacks)
        if found.why_no_whole_stacks
        else Check("user stacks", OK, found.user_stacks),
    ]


def fentry(bcc: ModuleType) -> Check:
    """Attach a program to a function's entry."""
    with compiling():
        try:
            bcc.BPF(text=b"int kfunc__begin_new_exec(void *ctx) { return 0; }").cleanup()
        except Exception:  # bcc raises bare Exception
            return Check("fentry", LIMITED, f"the kernel refuses it; {UNUSED}")
    return Check("fentry", OK, "can be attached")


def lockdown(path: Path = LOCKDOWN) -> Check:
    """Tell whether the kernel keeps its memory from root too."""
    try:
        words = path.read_text().split()
    except OSError:
        return Check("lockdown", OK, "none to be seen")
    chosen = next((word.strip("[]") for word in words if word.startswith("[")), "none")
    if chosen == "confidentiality":
        says = "the kernel is locked down for confidentiality: BPF programs may not read its memory"
        return Check("lockdown", MISSING, says, "boot it without lockdown=confidentiality")
    return Check("lockdown", OK, chosen)


def settings() -> Check:
    """Tell the settings that are known for keeping users from BPF and perf."""
    values = []
    for name in SETTINGS:
        path = Path("/proc/sys/kernel", name)
        values.append(f"{name} {path.read_text().strip() if path.exists() else 'unknown'}")
    return Check("settings", OK, f"{', '.join(values)}: they bind users other than root")


def kallsyms() -> Check:
    """Tell whether the addresses of the kernel's functions can be read."""
    try:
        with open("/proc/kallsyms") as file:
            readable = any(int(line.split(maxsplit=1)[0], 16) for line in file)
    except OSError:
        readable = False
    if readable:
        return Check("kallsyms", OK, "the kernel's functions have names")
    says = "addresses are hidden: the kernel's functions will have no names"
    return Check("kallsyms", LIMITED, says, "it takes CAP_SYSLOG, and `sysctl -w kernel.kptr_restrict=1`")


def disk() -> Check:
    """Tell how much is free where a recording would be written by default: in the current directory."""
    usage = shutil.disk_usage(".")
    free = f"{usage.free / 1e9:.1f} GB free in {Path.cwd()}"
    if usage.free < usage.total * RESERVE_PERCENT / 100:
        return Check("disk", LIMITED, f"{free}: less than --reserve leaves", "choose another place with -o")
    return Check("disk", OK, free)


def mechanisms() -> list[Check]:
    """Tell what else of the kernel's tracing there is."""
    mounted = [line.split() for line in lines_of("/proc/self/mounts")]
    there = {
        "tracefs": any(words[2] == "tracefs" for words in mounted),
        "kprobes": Path("/sys/bus/event_source/devices/kprobe").exists(),
        "uprobes": Path("/sys/bus/event_source/devices/uprobe").exists(),
    }
    absent = {
        "tracefs": "it is not mounted: trace:GROUP:NAME mounts it where nobody else sees it",
        "kprobes": "not here: count: and time: cannot count the kernel's functions",
        "uprobes": "not here: there is no dns, and count: and time: cannot count user functions",
    }
    return [Check(name, OK, "there") if here else Check(name, LIMITED, absent[name]) for name, here in there.items()]


def _refusal(name: str, error: CannotRecord) -> Check:
    says, _, mend = str(error).partition("; ")
    return Check(name, MISSING, says, mend)
