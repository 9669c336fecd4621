"""Sandwiches: a function's callers above it and what it called below it, wherever it occurs, merged from there."""

from offwake.analyzer.profile import Profile
from offwake.analyzer.render.text import printable
from offwake.analyzer.render.tree import FrameTree, Part, Stack, stacks
from offwake.analyzer.shape import halves

__all__ = ["frame_tree"]


def frame_tree(profile: Profile, sandwich: str | None = None) -> FrameTree:
    """Return the tree of a profile's stacks, or that of a function's callees with the tree of its callers beside it."""
    if sandwich is None:
        return FrameTree(profile)
    name = printable(sandwich)
    callers, callees = [], []
    for frames, value_ns, hot in stacks(profile):
        parted = halves(tuple(map(printable, frames)), name)
        if parted:
            callers.append(Stack(parted[0], value_ns, hot))
            callees.append(Stack(parted[1], value_ns, hot))
    above = FrameTree(profile, Part(name, callers, of_callers=True))
    return FrameTree(profile, Part(name, callees), above)
