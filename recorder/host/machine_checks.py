"""What a machine must be to be recorded: each check made once, for the recorder that refuses and for the doctor who tells.

A check says in one sentence what it found, and what mends it. The recorder raises that sentence, so that nobody is told
two things of one machine.
"""

import os
import platform
import struct
from dataclasses import dataclass
from pathlib import Path

from offwake.errors import CannotRecord
from offwake.recorder.host.namespaces import FIRST_PID_NAMESPACE, FIRST_TIME_NAMESPACE

__all__ = [
    "LIMITED",
    "MISSING",
    "OK",
    "Check",
    "architecture",
    "capabilities",
    "check_machine",
    "initial_pid_namespace",
    "initial_time_namespace",
    "root",
]

OK, LIMITED, MISSING = "ok", "limited", "missing"
NEEDED = {"CAP_PERFMON": 38, "CAP_BPF": 39}  # since 5.8; CAP_SYS_ADMIN stands for both
HELPFUL = {"CAP_DAC_READ_SEARCH": 2, "CAP_SYS_PTRACE": 19}
CAP_SYS_ADMIN = 21


@dataclass(frozen=True)
class Check:
    """One thing that a recording takes. Without what is `missing` there is none; with what is `limited` it has less."""

    name: str
    verdict: str
    says: str
    mend: str = ""

    @property
    def sentence(self) -> str:
        """What was found, and what mends it."""
        return "; ".join(part for part in (self.says, self.mend) if part)


def check_machine() -> None:
    """Raise CannotRecord, with what mends it, where recording cannot work."""
    for check in (architecture(), root(), initial_pid_namespace(), initial_time_namespace(), capabilities()):
        if check.verdict == MISSING:
            raise CannotRecord(check.sentence)


def architecture() -> Check:
    """Tell whether offwake can record this processor: x86-64, by a 64-bit process.

    Another one would take: barriers where a ring's head is read and its tail written (ring.py relies on x86-64, which keeps
    the order of loads, and of stores behind them); its number of perf_event_open; its registers and the size of its
    kernel stacks, in program_text.py, ptrace.h of the stand-in headers, bpf/ and cfi.py; where a thread keeps what
    python.py begins with. And somebody who records it: a recording that is wrong at times is worse than none.
    """
    machine = platform.machine()
    if machine != "x86_64":
        return Check(
            "architecture",
            MISSING,
            f"recording works on x86_64, not on {machine}: rings would be read without the memory barriers that it takes, "
            "and user stacks could not be unwound",
        )
    if struct.calcsize("P") != 8:
        return Check("architecture", MISSING, "this Python is a 32-bit program", "run offwake with a 64-bit one")
    return Check("architecture", OK, machine)


def root() -> Check:
    """Tell whether this user is root."""
    if os.geteuid() != 0:
        return Check("root", MISSING, "recording needs root", "run it with sudo")
    return Check("root", OK, "yes")


def initial_pid_namespace() -> Check:
    """Tell whether thread ids here are those that the kernel's events carry."""
    if os.stat("/proc/self/ns/pid").st_ino != FIRST_PID_NAMESPACE:
        return Check(
            "pid namespace",
            MISSING,
            "this is a PID namespace of its own (a container): the kernel's thread ids cannot be translated here",
            "run offwake on the host, or in a container started with --pid=host",
        )
    return Check("pid namespace", OK, "the host's")


def initial_time_namespace() -> Check:
    """Tell whether the clocks here are those that the kernel's events are timed by."""
    namespace = Path("/proc/self/ns/time")  # since 5.6
    if namespace.exists() and namespace.stat().st_ino != FIRST_TIME_NAMESPACE:
        return Check(
            "time namespace",
            MISSING,
            "this is a time namespace of its own: the clocks here are not those that the kernel's events are timed by",
            "run offwake on the host",
        )
    return Check("time namespace", OK, "the host's")


def capabilities() -> Check:
    """Tell whether root may do what root may: in most containers it may not."""
    mend = "run offwake on the host, or in a privileged container"
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:")]
    held = int(line.split()[1], 16)
    needed = [] if held >> CAP_SYS_ADMIN & 1 else [name for name, bit in NEEDED.items() if not held >> bit & 1]
    if needed:
        return Check("capabilities", MISSING, f"recording needs {' and '.join(needed)}", mend)
    helpful = [name for name, bit in HELPFUL.items() if not held >> bit & 1]
    if helpful:
        says = f"without {' and '.join(helpful)} functions of other users' programs have no names"
        return Check("capabilities", LIMITED, says, mend)
    return Check("capabilities", OK, "all that are needed")
