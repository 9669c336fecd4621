"""A wait that a flight recorder is to write out for: longer than something, of whoever is meant."""

import re
from dataclasses import dataclass

from offwake.errors import UsageError

__all__ = ["Trigger"]

UNITS_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
BLOCKED = re.compile(r"blocked\s*>\s*(\d+(?:\.\d+)?)\s*(ns|us|ms|s)(?=\s|$)\s*(.*)")
COMM_BYTES = 15  # TASK_COMM_LEN without its NUL
PID_AT_MOST = 1 << 22  # PID_MAX_LIMIT
FORM = "it reads 'blocked > 500ms', and after that comm=NAME, pid=PID or both"


@dataclass(frozen=True)
class Trigger:
    """Waits of more than `blocked_ns`, of threads with this name, "" for any, in this process, 0 for any."""

    blocked_ns: int
    comm: str = ""
    pid: int = 0

    @staticmethod
    def parse(text: str) -> "Trigger":
        """Read `blocked > DURATION [comm=NAME] [pid=PID]`. Raises UsageError."""
        match = BLOCKED.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"--trigger {text!r}: {FORM}")
        blocked_ns = round(float(match[1]) * UNITS_NS[match[2]])
        if not 0 < blocked_ns < 1 << 63:
            raise UsageError(f"--trigger {text!r}: nothing is blocked for so long, or for no time")
        found: dict[str, str] = {}
        for word in match[3].split():
            key, equals, value = word.partition("=")
            if key not in ("comm", "pid") or key in found or not equals or not value:
                raise UsageError(f"--trigger {text!r}: {word!r} is not understood; {FORM}")
            found[key] = value
        comm, pid = found.get("comm", ""), found.get("pid", "0")
        if len(comm.encode(errors="surrogateescape")) > COMM_BYTES:
            raise UsageError(f"--trigger {text!r}: the kernel keeps {COMM_BYTES} bytes of a name: comm={comm[:COMM_BYTES]}")
        if not pid.isdecimal() or ("pid" in found and not 0 < int(pid) <= PID_AT_MOST):
            raise UsageError(f"--trigger {text!r}: {pid!r} is no process; {FORM}")
        return Trigger(blocked_ns, comm, int(pid))
