"""Process ids as a container sees them: what /proc knows of the innermost PID namespace of a process."""

import os

from offwake.recorder.host.snapshot import lines_of

__all__ = ["FIRST_PID_NAMESPACE", "FIRST_TIME_NAMESPACE", "ns_pid"]

FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h
FIRST_TIME_NAMESPACE = 0xEFFFFFFA  # PROC_TIME_INIT_INO


def ns_pid(pid: int) -> int | None:
    """Return a process's id in its own PID namespace; None where that is the host's, or the process is gone.

    That of an ordinary process takes one stat.
    """
    try:
        if os.stat(f"/proc/{pid}/ns/pid").st_ino == FIRST_PID_NAMESPACE:
            return None
        lines = lines_of(f"/proc/{pid}/status")
    except OSError:
        return None
    return next((int(line.split()[-1]) for line in lines if line.startswith("NSpid:")), None)
