"""A wait that a flight recorder is to write out for: longer than something, of whoever is meant."""

from dataclasses import dataclass

__all__ = ["Trigger"]


@dataclass(frozen=True)
class Trigger:
    """Waits of more than `blocked_ns`, of threads with this name, "" for any, in this process, 0 for any."""

    blocked_ns: int
    comm: str = ""
    pid: int = 0
