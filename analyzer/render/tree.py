"""Frame trees: a profile's stacks merged from the root, and what of them a picture of some width can show.

Names are made printable here, so everything that is drawn, searched or linked from a tree is safe to write anywhere.
A frame is addressed by the CRC-32 of its folded path (`all;nginx;read_[k];`): a link to it stays valid when a filter
changes or another recording of the same program is opened.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from itertools import count

from offwake.analyzer.profile import Profile
from offwake.analyzer.render.text import printable

__all__ = ["Box", "Frame", "FrameTree", "boxes", "frame_key", "matched_ns", "top_frames"]

ROOT = "all"
OTHER = "other"
DEEP, SLIVER = 48, 0.02
"""Rows from which on a picture ends where a row holds less than this share of it."""
WAKER_MARK = "--"
ON_CPU_MARK = "[on CPU]"
NARROWEST_PX = 0.1
BOXES_AT_MOST = 4000
"""So that a picture stays under 500 KB, whatever the profile: the widest are drawn, the rest is folded into "other"."""


class Frame:
    """One function, thread or mark under one path of callers, with its nanoseconds and those of all that it called.

    `on_cpu_ns` is the part of stacks that end in `[on CPU]`.
    """

    __slots__ = ("children", "name", "on_cpu_ns", "parent", "value_ns")

    def __init__(self, name: str, parent: "Frame | None" = None) -> None:
        self.name = name
        self.parent = parent
        self.value_ns = 0
        self.on_cpu_ns = 0
        self.children: dict[str, Frame] = {}

    @property
    def self_ns(self) -> int:
        """Nanoseconds of the stacks that end here."""
        return self.value_ns - sum([child.value_ns for child in self.children.values()])

    @property
    def is_hot(self) -> bool:
        """Whether most of its time is of stacks that end in `[on CPU]`."""
        return 2 * self.on_cpu_ns > self.value_ns

    def path(self) -> list["Frame"]:
        """Return the frames from the root to this one."""
        path = [self]
        while path[-1].parent:
            path.append(path[-1].parent)
        return path[::-1]

    def ordered(self) -> list["Frame"]:
        """Return the children alphabetically."""
        return [self.children[name] for name in sorted(self.children)]


class _SafeNames(dict[str, str]):
    """Printable forms of names, each made once."""

    def __missing__(self, name: str) -> str:
        self[name] = safe = printable(name)
        return safe


class FrameTree:
    """All stacks of a profile under one root `all`. It is not changed after it is built, so threads may share it."""

    def __init__(self, profile: Profile) -> None:
        self.view, self.unit = profile.view, profile.unit
        self.root = Frame(ROOT)
        safe = _SafeNames()
        for frames, weight in profile.weights.items():
            frame = self.root
            frame.value_ns += weight.value_ns
            on_cpu_ns = weight.value_ns if frames and frames[-1] == ON_CPU_MARK else 0
            frame.on_cpu_ns += on_cpu_ns
            for name in frames:
                name = safe[name]
                child = frame.children.get(name)
                if child is None:
                    child = frame.children[name] = Frame(name, frame)
                child.value_ns += weight.value_ns
                child.on_cpu_ns += on_cpu_ns
                frame = child

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame, parents before children."""
        waiting = [self.root]
        while waiting:
            frame = waiting.pop()
            yield frame
            waiting.extend(frame.children.values())

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name that occurs, once."""
        return frozenset(frame.name for frame in self)

    def find(self, key: int) -> Frame | None:
        """Return the frame with this key, or None where this tree has no such path.

        Looks at the widest frames first: what was clicked on was wide enough to see.
        """
        order = count()
        waiting = [(-self.root.value_ns, next(order), self.root, frame_key(0, ROOT))]
        while waiting:
            _, _, frame, found = heappop(waiting)
            if found == key:
                return frame
            for name, child in frame.children.items():
                heappush(waiting, (-child.value_ns, next(order), child, frame_key(found, name)))
        return None


def frame_key(parent_key: int, name: str) -> int:
    """Return a frame's key: the CRC-32 of its path's names, each followed by `;`."""
    return zlib.crc32(f"{name};".encode(), parent_key)


def matched_ns(top: Frame, names: frozenset[str]) -> int:
    """Return the nanoseconds under `top` of frames with one of these names, a matched frame's callees counted once."""
    matched, waiting = 0, [top]
    while waiting:
        frame = waiting.pop()
        if frame.name in names:
            matched += frame.value_ns
        else:
            waiting.extend(frame.children.values())
    return matched


def top_frames(top: Frame) -> list[tuple[str, int, int]]:
    """Return every name under `top` with its self and its total nanoseconds, most self time first.

    A total counts time once where a function calls itself.
    """
    self_ns: dict[str, int] = defaultdict(int)
    total_ns: dict[str, int] = defaultdict(int)
    callers: set[str] = set()
    waiting: list[Frame | str] = [top]
    while waiting:
        frame = waiting.pop()
        if isinstance(frame, str):  # all that this caller called is done
            callers.discard(frame)
            continue
        self_ns[frame.name] += frame.self_ns
        if frame.name not in callers:
            total_ns[frame.name] += frame.value_ns
            callers.add(frame.name)
            waiting.append(frame.name)
        waiting.extend(frame.children.values())
    rows = [(name, self_ns[name], total) for name, total in total_ns.items()]
    return sorted(rows, key=lambda row: (-row[1], -row[2], row[0]))


@dataclass(frozen=True, slots=True)
class Box:
    """A frame as it is drawn: `depth` rows from the root, from `begin_ns` on, `value_ns` wide.

    `begin_ns` counts from the left of the shown frame, whose width is the picture's; its ancestors span it. `waker` is
    set behind a `--`, `hot` where most of the time is on the CPU. `key` is 0 for what was folded into "other".
    """

    name: str
    depth: int
    begin_ns: int
    value_ns: int
    key: int
    waker: bool
    hot: bool = False
    ancestor: bool = False


def boxes(top: Frame, width_px: float) -> list[Box]:
    """Lay out the ancestors of `top`, then `top` and what it called, parents before children, siblings alphabetically.

    At most 4,000, besides ancestors: a frame that would be narrower than 0.1 px, or is not among the widest, is folded
    into its parent's "other"; an "other" that is itself too narrow is left blank. So is what stands on more than 48 rows
    where all of a row together is a sliver: a single chain of sixty wakers would make the picture ten times as high as
    all others need. Time of stacks that end in a frame comes first in its row.
    """
    narrowest_ns = top.value_ns * NARROWEST_PX / width_px
    laid = _lay_out(top, *_widest(top, narrowest_ns, BOXES_AT_MOST * 9 // 10))
    if len(laid) > BOXES_AT_MOST:  # too many "other", of which there is at most one a frame
        laid = _lay_out(top, *_widest(top, narrowest_ns, BOXES_AT_MOST // 2))
    return laid


def _lay_out(top: Frame, drawn: set[Frame], least_ns: float) -> list[Box]:
    laid: list[Box] = []
    key, waker = 0, False
    for depth, frame in enumerate(top.path()):
        key, waker = frame_key(key, frame.name), waker or frame.name == WAKER_MARK
        laid.append(Box(frame.name, depth, 0, frame.value_ns, key, waker, frame.is_hot, ancestor=frame is not top))
    waiting = [(top, laid.pop())]
    while waiting:
        frame, box = waiting.pop()
        laid.append(box)
        shown = [child for child in frame.ordered() if child in drawn]
        other_ns = sum(child.value_ns for child in frame.children.values()) - sum(child.value_ns for child in shown)
        if other_ns <= least_ns:
            other_ns = 0
        begin_ns = box.begin_ns + frame.value_ns - other_ns - sum(child.value_ns for child in shown)
        depth, row = box.depth + 1, []
        for child in shown:
            waker, key = box.waker or child.name == WAKER_MARK, frame_key(box.key, child.name)
            row.append((child, Box(child.name, depth, begin_ns, child.value_ns, key, waker, child.is_hot)))
            begin_ns += child.value_ns
        if other_ns:
            row.append((Frame(OTHER), Box(OTHER, depth, begin_ns, other_ns, 0, box.waker)))
        waiting.extend(reversed(row))
    return laid


def _widest(top: Frame, least_ns: float, at_most: int) -> tuple[set[Frame], float]:
    """Return the frames under `top` of at least `least_ns`, or so many of the widest, shallow first; and the least."""
    found, level = [top], [top]
    for depth in count(1):
        level = [child for frame in level for child in frame.children.values() if child.value_ns >= least_ns]
        if not level or (depth > DEEP and sum(frame.value_ns for frame in level) < SLIVER * top.value_ns):
            break
        found += level
    if len(found) <= at_most:
        return set(found), least_ns
    least_ns = sorted((frame.value_ns for frame in found), reverse=True)[at_most]
    wider = [frame for frame in found if frame.value_ns > least_ns]
    as_wide = [frame for frame in found if frame.value_ns == least_ns]
    return {*wider, *as_wide[: at_most - len(wider)]}, least_ns
