"""What simulated threads do: programs made of steps, and the workload of them that the simulator runs."""

from dataclasses import dataclass

__all__ = ["Block", "Program", "Rename", "Run", "Spawn", "Step", "Wake", "Workload"]


@dataclass(frozen=True)
class Run:
    """Compute."""

    ns: int


@dataclass(frozen=True)
class Block:
    """Sleep in a raw kernel state, until a message comes (if it listens), or an interrupt after a timeout."""

    state: int = 1
    timeout_ns: int | None = None
    listens: bool = True
    source: str = "[timer]"


@dataclass(frozen=True)
class Wake:
    """Send a message to a living thread, counted from the oldest."""

    target: int


@dataclass(frozen=True)
class Spawn:
    """Make a thread, or a process."""

    program: "Program"
    process: bool = False


@dataclass(frozen=True)
class Rename:
    """Take another name; by exec where the thread is alone in its process."""

    comm: str


Step = Run | Block | Wake | Spawn | Rename


@dataclass(frozen=True)
class Program:
    """What a thread does, so many times; then it exits."""

    comm: str
    steps: tuple[Step, ...]
    rounds: int = 1_000_000
    kernel: bool = False


@dataclass(frozen=True)
class Workload:
    """What to simulate: the first threads; `warm_up_ns` pass unseen, then `length_ns` are recorded."""

    programs: tuple[Program, ...]
    cpus: int
    seed: int
    warm_up_ns: int
    length_ns: int
