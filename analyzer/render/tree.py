"""Frame trees: a profile's stacks merged from the root, as columns with a frame a row, parents before children.

Names are made printable here, so everything that is drawn, searched or linked from a tree is safe to write anywhere.
A frame is addressed by the CRC-32 of its folded path (`all;nginx;read_[k];`): a link to it stays valid when a filter
changes or another recording of the same program is opened.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.profile import Frames, Profile
from offwake.analyzer.render.text import printable

__all__ = ["Frame", "FrameTree", "Function", "Merged", "Part", "frame_key", "functions", "matched_ns", "merged"]

ROOT = "all"
ON_CPU_MARK = "[on CPU]"


@dataclass(frozen=True)
class Part:
    """Stacks that stand on a root, in columns: their frames, their nanoseconds, and whether they were on the CPU.

    Shares are of `all_ns`. In stacks of callers the nearest caller stands on the root. `rows` are those of the stacks'
    tree, if that is known.
    """

    root: str
    frames: list[Frames]
    value_ns: list[int]
    hot: list[bool]
    all_ns: int
    of_callers: bool = False
    rows: "Merged | None" = None

    @classmethod
    def whole(cls, profile: Profile) -> "Part":
        """Return all stacks of a profile, root first, on one root."""
        frames = list(profile.weights)
        hot = [stack[-1:] == (ON_CPU_MARK,) for stack in frames]
        value_ns = [weight.value_ns for weight in profile.weights.values()]
        return cls(ROOT, frames, value_ns, hot, sum(value_ns))


class FrameTree:
    """All stacks of a profile under one root. It is not changed after it is built, so threads may share it.

    Frames are numbered in the order in which they are met from the root, siblings alphabetically; so all that a frame
    called lies between it and `end`, and sums over it are differences of running sums. Columns, a row a frame: `name`
    (an index of `texts`, which are sorted), `depth`, `end` (int64); and a row more: `before_ns` and `hot_before_ns`,
    the nanoseconds (on the CPU) of stacks that end in frames before this one.

    `part` is what it is made of where that is not all of the profile. In a sandwich `callers` is the tree of those that
    called the root, the nearest first. `all_ns` is what shares are of.
    """

    def __init__(self, profile: Profile, part: Part | None = None, callers: "FrameTree | None" = None) -> None:
        part = part or Part.whole(profile)
        self.view, self.unit = profile.view, profile.unit
        self.callers, self.of_callers = callers, part.of_callers
        self.all_ns = part.all_ns
        self.first_key = frame_key(frame_key(0, "callers") if part.of_callers else 0, printable(part.root))
        self.texts, self.name, self.depth, self.end, order, leaf = part.rows or merged(part.root, part.frames)
        value_ns = np.array(part.value_ns, np.int64)[order]
        hot = np.array(part.hot, np.bool_)[order]
        self.before_ns = _running(leaf, value_ns, len(self.name))
        self.hot_before_ns = _running(leaf, value_ns * hot, len(self.name))

    @property
    def root(self) -> "Frame":
        """The frame that all stacks stand on."""
        return Frame(self, 0)

    def __len__(self) -> int:
        return len(self.name)

    def __iter__(self) -> Iterator["Frame"]:
        """Yield every frame, parents before children."""
        return (Frame(self, index) for index in range(len(self)))

    @cached_property
    def value_ns(self) -> NDArray[np.int64]:
        """Nanoseconds of every frame and all that it called."""
        return self.before_ns[self.end] - self.before_ns[:-1]

    @cached_property
    def self_ns(self) -> NDArray[np.int64]:
        """Nanoseconds of the stacks that end in every frame."""
        return np.diff(self.before_ns)

    @cached_property
    def is_hot(self) -> NDArray[np.bool_]:
        """Whether most of every frame's time was on the CPU."""
        return np.asarray(2 * (self.hot_before_ns[self.end] - self.hot_before_ns[:-1]) > self.value_ns)

    @cached_property
    def by_name(self) -> NDArray[np.int64]:
        """The rows, those of one name together, in their order."""
        return np.argsort(self.name, kind="stable")

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name that occurs, once; in a sandwich those of the callers too."""
        return frozenset(self.texts) | (self.callers.names if self.callers else frozenset())

    def find(self, key: int) -> "Frame | None":
        """Return the frame with this key, the widest of several, or None where this tree has no such path."""
        found = np.flatnonzero(self.keys == key)
        if len(found):
            return Frame(self, int(found[np.argmax(self.value_ns[found])]))
        return self.callers.find(key) if self.callers else None

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """The key of every frame."""
        encoded = [f"{text};".encode() for text in self.texts]
        path, keys = [self.first_key] * (int(self.depth.max()) + 1), [self.first_key]
        for depth, name in zip(self.depth[1:].tolist(), self.name[1:].tolist(), strict=True):
            path[depth] = key = zlib.crc32(encoded[name], path[depth - 1])
            keys.append(key)
        return np.array(keys)


@dataclass(frozen=True, slots=True)
class Frame:
    """One function, thread or mark under one path of callers: a row of a tree."""

    tree: FrameTree
    index: int

    @property
    def name(self) -> str:
        """What it is called."""
        return self.tree.texts[int(self.tree.name[self.index])]

    @property
    def value_ns(self) -> int:
        """Nanoseconds of it and all that it called."""
        return int(self.tree.value_ns[self.index])

    @property
    def self_ns(self) -> int:
        """Nanoseconds of the stacks that end here."""
        return int(self.tree.self_ns[self.index])

    @property
    def end(self) -> int:
        """The row after the last of what it called."""
        return int(self.tree.end[self.index])

    @property
    def children(self) -> dict[str, "Frame"]:
        """What it called, by name, alphabetically."""
        found, index = {}, self.index + 1
        while index < self.end:
            child = Frame(self.tree, index)
            found[child.name] = child
            index = child.end
        return found

    def path(self) -> list["Frame"]:
        """Return the frames from the root to this one."""
        above = np.flatnonzero(self.tree.end[: self.index] > self.index)
        return [*(Frame(self.tree, index) for index in above.tolist()), self]


class Function(NamedTuple):
    """A name wherever it occurs: nanoseconds of stacks that end in it, and of all that have it."""

    name: str
    self_ns: int
    total_ns: int


def frame_key(parent_key: int, name: str) -> int:
    """Return a frame's key: the CRC-32 of its path's names, each followed by `;`."""
    return zlib.crc32(f"{name};".encode(), parent_key)


def matched_ns(top: Frame, names: frozenset[str]) -> int:
    """Return the nanoseconds under `top` of frames with one of these names, a matched frame's callees counted once."""
    tree = top.tree
    is_match = np.array([text in names for text in tree.texts])
    found = top.index + np.flatnonzero(is_match[tree.name[top.index : top.end]])
    return int(tree.value_ns[found[~_inside(tree.end[found], found)]].sum())


def functions(top: Frame) -> list[Function]:
    """Return every name under `top` with its self and its total time, most self time first.

    A total counts time once where a function calls itself.
    """
    tree = top.tree
    rows = tree.by_name[(tree.by_name >= top.index) & (tree.by_name < top.end)]
    name = tree.name[rows]
    apart = name * len(tree)  # so that no row of one name lies inside one of another
    is_outer = ~_inside(apart + tree.end[rows], apart + rows)
    self_ns, total_ns = np.zeros(len(tree.texts), np.int64), np.zeros(len(tree.texts), np.int64)
    np.add.at(self_ns, name, tree.self_ns[rows])
    np.add.at(total_ns, name[is_outer], tree.value_ns[rows[is_outer]])
    there = name[np.flatnonzero(np.diff(name, prepend=-1))]
    most_first = there[np.lexsort((there, -total_ns[there], -self_ns[there]))]
    return [
        Function(tree.texts[index], own, total)
        for index, own, total in zip(
            most_first.tolist(), self_ns[most_first].tolist(), total_ns[most_first].tolist(), strict=True
        )
    ]


def _inside(end: NDArray[np.int64], begin: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which of these rows, ascending, lie under one that comes before them."""
    inside = np.zeros(len(begin), np.bool_)
    inside[1:] = begin[1:] < np.maximum.accumulate(end)[:-1]
    return inside


class Merged(NamedTuple):
    """The rows of a tree, parents before children: names, as indices of `texts`, which are sorted; depth; the row after the
    last of what each called (int64). And the stacks in the order of their frames, with the row in which each ends."""

    texts: list[str]
    name: NDArray[np.int64]
    depth: NDArray[np.int64]
    end: NDArray[np.int64]
    order: NDArray[np.int64]
    leaf: NDArray[np.int64]


def merged(root: str, stacks: Sequence[Frames]) -> Merged:
    """Merge stacks that stand on a root, by their frames' printable names."""
    names = [root, *chain.from_iterable(stacks)]
    safe = {name: printable(name) for name in dict.fromkeys(names)}
    texts = sorted(set(safe.values()))
    place_of = {text: place for place, text in enumerate(texts)}
    number = {name: place_of[text] for name, text in safe.items()}
    flat = np.fromiter(map(number.__getitem__, names), np.int64, len(names))
    length = np.array([1, *map(len, stacks)])
    first = np.cumsum(length) - length
    order = _sorted(flat, first[1:], length[1:])
    rows = np.append(0, order + 1)  # the root, and the stacks in their order
    first, length = first[rows], length[rows]
    begin = np.cumsum(length) - length
    place = np.arange(len(flat)) - np.repeat(begin, length)
    flat = flat[np.repeat(first, length) + place]
    shared = np.append(0, _shared(flat, begin[1:], length[1:]))
    is_new = place >= np.repeat(shared, length)
    depth = (place + np.repeat(rows > 0, length))[is_new]
    return Merged(texts, flat[is_new], depth, _ends(depth), order, np.cumsum(length - shared)[1:] - 1)


def _sorted(flat: NDArray[np.int64], first: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order of stacks of numbers. As bytes, the highest first, they are compared as quickly as text."""
    text, size = flat.astype(">u4").tobytes(), 4
    bounds = zip((size * first).tolist(), (size * (first + length)).tolist(), strict=True)
    stacks = [text[begin:end] for begin, end in bounds]
    return np.array(sorted(range(len(stacks)), key=stacks.__getitem__), np.int64)


def _shared(flat: NDArray[np.int64], first: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many of its first frames each stack shares with the one before it."""
    shared, depth = np.zeros(len(length), np.int64), 0
    alike = np.arange(1, len(length))
    while len(alike):
        alike = alike[np.minimum(length[alike], length[alike - 1]) > depth]
        alike = alike[flat[first[alike] + depth] == flat[first[alike - 1] + depth]]
        depth += 1
        shared[alike] = depth
    return shared


def _ends(depth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, of rows with parents before children, the one after the last that lies under each."""
    by_depth, rows = np.argsort(depth, kind="stable"), np.ones(len(depth), np.int64)
    levels = np.split(by_depth, np.cumsum(np.bincount(depth))[:-1])
    for above, level in reversed(list(pairwise(levels))):
        np.add.at(rows, above[np.searchsorted(above, level) - 1], rows[level])
    return np.arange(len(depth)) + rows


def _running(row: NDArray[np.int64], value: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Return, for every row and one more, the sum of the values that belong to rows before it."""
    own = np.zeros(length + 1, np.int64)
    np.add.at(own, row + 1, value)
    return np.cumsum(own)
