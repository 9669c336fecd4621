"""Sandwiches: a function's callers above it and what it called below it, wherever it occurs, merged from there."""

from offwake.analyzer.profile import Profile
from offwake.analyzer.render.text import printable
from offwake.analyzer.render.tree import FrameTree, Part
from offwake.analyzer.shape import halves

__all__ = ["frame_tree"]


def frame_tree(profile: Profile, sandwich: str | None = None) -> FrameTree:
    """Return the tree of a profile's stacks, or that of a function's callees with the tree of its callers beside it."""
    if sandwich is None:
        return FrameTree(profile)
    name, whole = printable(sandwich), Part.whole(profile)
    parted = [halves(tuple(map(printable, frames)), name) for frames in whole.frames]
    columns = list(zip(parted, whole.value_ns, whole.hot, strict=True))
    value_ns, hot = [ns for both, ns, _ in columns if both], [is_hot for both, _, is_hot in columns if both]
    callers = Part(name, [both[0] for both in parted if both], value_ns, hot, whole.all_ns, of_callers=True)
    callees = Part(name, [both[1] for both in parted if both], value_ns, hot, whole.all_ns)
    return FrameTree(profile, callees, FrameTree(profile, callers))
