"""What of a profile's stacks is shown: those with a frame, or all but some frames. It needs no other pass."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from offwake.analyzer.profile import Frames, Profile
from offwake.analyzer.render.text import printable
from offwake.analyzer.search import matching_names
from offwake.analyzer.views import ViewOptions

__all__ = ["halves", "shaped"]

MARK = "--"
HIDDEN = ("[hidden]",)
"""What a stack is whose frames are all hidden."""


def shaped(shown: Profile, everything: Callable[[], Profile], grep: str | None, options: ViewOptions) -> Profile:
    """Return the stacks with a frame that `grep` fits and with the one of `sandwich`, without the frames that `hide` fits.

    `everything` makes the same without anything hidden as idle, where that is needed: what of it fits and is not shown is
    `hidden_ns`. Raises UsageError, see `matching_names`.
    """
    narrowed = grep is not None or options.sandwich is not None
    whole = everything() if narrowed and shown.hidden_ns else shown
    names = {name for frames in whole.weights for name in frames}
    for wanted in _wanted(names, grep, options.sandwich):
        shown, whole = shown.containing(wanted), whole.containing(wanted)
        shown = replace(shown, hidden_ns=whole.total_ns - shown.total_ns)
    return _without(shown, matching_names(options.hide, names)) if options.hide is not None else shown


def halves(frames: Frames, name: str) -> tuple[Frames, Frames] | None:
    """Part a stack at a function: its callers and its callees, both the nearest first; None where it is not in it.

    Where the function calls itself, it is the outermost call, so that time counts once. Behind a `--` stacks run from
    the leaf to the root: callees come before their callers, and before them all, what the waker ended.
    """
    if name not in frames:
        return None
    place = frames.index(name)
    if MARK not in frames[:place]:
        return frames[:place][::-1], frames[place + 1 :]
    while name in (theirs := _until_mark(frames[place + 1 :])):
        place += 1 + theirs.index(name)
    return frames[place + 1 :], frames[:place][::-1]


def _until_mark(frames: Frames) -> Frames:
    return frames[: frames.index(MARK)] if MARK in frames else frames


def _wanted(names: set[str], grep: str | None, sandwich: str | None) -> Iterator[frozenset[str]]:
    """Yield sets of names; a stack is to have one of each."""
    if grep is not None:
        yield matching_names(grep, names)
    if sandwich is not None:
        yield frozenset(name for name in names if printable(name) == printable(sandwich))


def _without(profile: Profile, names: frozenset[str]) -> Profile:
    """Leave frames out of stacks; what they called is then their callers'."""

    def kept(frames: Frames) -> Frames:
        return tuple([name for name in frames if name not in names]) or HIDDEN

    found = replace(profile, weights={}, over_time=profile.over_time.called(kept))
    for frames, weight in profile.weights.items():
        found.add(kept(frames), weight.value_ns, weight.count, weight.open_ns)
    return found
