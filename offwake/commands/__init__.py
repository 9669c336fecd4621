"""The subcommands, one module each: `add_arguments(parser)` and `run(args)`, which returns the exit code."""

import pkgutil

__all__ = ["COMMANDS", "installed"]

COMMANDS = {
    "record": "capture this machine into FILE.offwake",
    "sources": "what this kernel can record",
    "doctor": "can this machine record? what is missing, and what mends it",
    "summary": "the first answer: who waited, on what, woken by whom",
    "info": "what a recording holds, from which host, how complete it is",
    "verify": "check every block",
    "recover": "make a whole file from a killed recording",
    "dump": "raw records in time order",
    "folded": "stacks as folded lines",
    "flamegraph": "stacks as one SVG file",
    "frames": "functions of stacks, by self and total time",
    "heatmap": "latency over time",
    "histogram": "latency distribution in powers of two",
    "diff": "two recordings, or two times of one: what got worse, and what stands out",
    "table": "rows: threads, who waited for whom, block I/O, TCP sessions and more (--of help)",
    "idle": "which waits are left out as idle, and why",
    "report": "the main pictures and tables in one HTML file",
    "serve": "browse recordings",
}


def installed() -> dict[str, str]:
    """Return those of COMMANDS that are here: all of them, or the few that are in offwake-recorder.pyz."""
    here = {module.name for module in pkgutil.iter_modules(__path__)}
    return {name: summary for name, summary in COMMANDS.items() if name in here}
