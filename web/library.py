"""Library: the recordings that may be seen, and what was lately asked of them.

A recording is addressed by an opaque id out of a scan of the folders, never by a path from a request, so there is no
path to escape from. Symbolic links in a folder are not followed. What is kept in memory is bounded.
"""

import hashlib
import os
import stat
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from offwake.analyzer import query
from offwake.analyzer.changes import Change, changes
from offwake.analyzer.compare import Comparison, Part, compare
from offwake.analyzer.completeness import open_waits, remarks
from offwake.analyzer.explain import Decision, explain
from offwake.analyzer.heatmap import Heatmap
from offwake.analyzer.histogram import Buckets, Histograms
from offwake.analyzer.overview import Overview
from offwake.analyzer.profile import Profile
from offwake.analyzer.recording import Recording
from offwake.analyzer.render.difference import difference_tree
from offwake.analyzer.render.sandwich import frame_tree
from offwake.analyzer.render.tree import FrameTree
from offwake.analyzer.select import Selection
from offwake.analyzer.summary import Summary, summarize
from offwake.analyzer.tables import Table
from offwake.analyzer.views import DEFAULTS, ViewOptions
from offwake.errors import OffwakeError

__all__ = ["ENTRIES_AT_MOST", "Compared", "Entry", "Library", "Listed", "Recent", "Stacks"]

SUFFIXES = (".offwake", ".offwake.part")
ENTRIES_AT_MOST = 1000
OPEN_AT_MOST = 2  # each may keep a pass in memory, see replay.py
ANSWERS_AT_MOST = 16
OVERVIEWS_AT_MOST = 50

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Entry:
    """A file as it was when the folder was scanned; one that was written again since is another entry."""

    id: str
    path: Path
    size: int
    identity: tuple[int, int, int, int]
    name: str
    """The file's name; with its folder where another one has the same."""

    @property
    def argument(self) -> str:
        """The name as a command takes it, which is no option."""
        return f"./{self.name}" if self.name.startswith("-") else self.name


@dataclass(frozen=True)
class Listed:
    """A file in the list: what the recording says about itself, or why it cannot be read."""

    entry: Entry
    info: dict[str, Any] | None
    error: str = ""


@dataclass(frozen=True)
class Stacks:
    """A profile, the tree that is drawn and searched, and what completeness.py says of it."""

    profile: Profile
    tree: FrameTree
    remarks: list[str]
    open_waits: list[str]


@dataclass(frozen=True)
class Compared:
    """A comparison, its changes in words, and its trees by layout, once they were asked for."""

    comparison: Comparison
    changes: list[Change]
    trees: dict[str, FrameTree] = field(default_factory=dict)

    def tree(self, layout: str) -> FrameTree:
        """Return the frames of both, as wide as the layout says."""
        if layout not in self.trees:
            self.trees[layout] = difference_tree(self.comparison, layout)
        return self.trees[layout]


class Library:
    """Recordings in files and folders. One analysis runs at a time; what it made is shared between threads."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = [path.resolve() for path in paths]
        self._working = threading.RLock()
        self._open: Recent[Entry, Recording] = Recent(OPEN_AT_MOST, Recording.close)
        self._infos: Recent[Entry, Listed] = Recent(ENTRIES_AT_MOST)
        self._lacking: Recent[Entry, dict[str, str]] = Recent(OVERVIEWS_AT_MOST)
        self._fields: Recent[Entry, dict[str, bool]] = Recent(OVERVIEWS_AT_MOST)
        self._overviews: Recent[Entry, Overview] = Recent(OVERVIEWS_AT_MOST)
        self._answers: Recent[tuple[Any, ...], Any] = Recent(ANSWERS_AT_MOST)

    def scan(self) -> list[Entry]:
        """Scan the folders: regular files named `*.offwake` or `*.offwake.part`, sorted by name."""
        found = sorted({entry for path in self._paths for entry in _scan(path)}, key=lambda entry: (entry.name, entry.path))
        times = Counter(entry.name for entry in found)
        return [replace(entry, name=str(entry.path)) if times[entry.name] > 1 else entry for entry in found]

    def entries(self) -> list[Entry]:
        """Return the files that are shown: of a scan the first 1,000."""
        return self.scan()[:ENTRIES_AT_MOST]

    def find(self, entry_id: str) -> Entry | None:
        """Return the file with this id, or None."""
        return next((entry for entry in self.entries() if entry.id == entry_id), None)

    def listed(self, entry: Entry) -> Listed:
        """Return what the list shows of a file, however damaged or foreign it is."""
        return self._infos.get(entry, lambda: self._listed(entry), self._working)

    def info(self, entry: Entry) -> dict[str, Any]:
        """Return what a recording says about itself. Raises OffwakeError for one that cannot be read."""
        listed = self.listed(entry)
        if listed.info is None:
            raise OffwakeError(listed.error)
        return listed.info

    def overview(self, entry: Entry) -> Overview:
        """Return what the machine did at each moment; made once a recording."""
        return self._overviews.get(entry, lambda: query.overview(self._recording(entry)), self._working)

    def stacks(self, entry: Entry, view: str, selection: Selection, options: ViewOptions = DEFAULTS) -> Stacks:
        """Return the selected stacks of a view. Another `grep`, `hide` or `sandwich` needs no other pass."""

        def make() -> Stacks:
            plain, whole = replace(selection, grep=None), replace(options, hide=None, sandwich=None)
            if self._lacks_wakers(entry, view):
                profile = Profile(view)
            elif (plain, whole) == (selection, options):
                profile = query.profile(self._recording(entry), view, selection, options)
            else:
                shown = self.stacks(entry, view, plain, whole).profile
                idle_too = replace(plain, show_all=True)
                profile = query.shaped(
                    shown, lambda: self.stacks(entry, view, idle_too, whole).profile, selection.grep, options
                )
            return Stacks(profile, frame_tree(profile, options.sandwich), list(remarks(profile)), open_waits(profile))

        answer: Stacks = self._answers.get((entry, "flame", view, selection, options), make, self._working)
        return answer

    def heatmap(self, entry: Entry, of: str, selection: Selection, by_offset: bool = False) -> Heatmap:
        """Return a heat map of the selected threads, over latency or over the offset within each second."""
        return self._made(query.offsets if by_offset else query.heatmap, entry, of, selection)

    def histograms(self, entry: Entry, of: str, selection: Selection, buckets: Buckets) -> Histograms:
        """Return histograms of the selected threads."""
        return self._made(query.histogram, entry, of, selection, buckets)

    def table(self, entry: Entry, of: str, selection: Selection) -> Table:
        """Return a table of the selected threads."""
        if self._lacks_wakers(entry, of):
            return Table(of, (), [])
        return self._made(query.table, entry, of, selection)

    def summary(self, entry: Entry, selection: Selection) -> Summary:
        """Return the summary of the selected threads."""
        return self._made(summarize, entry, selection)

    def idle(self, entry: Entry, selection: Selection) -> list[Decision]:
        """Return the decisions on the selected waits."""
        return self._made(explain, entry, selection)

    def compared(
        self, parts: tuple[tuple[Entry, Selection], ...], view: str, options: ViewOptions, normalize: str
    ) -> Compared:
        """Return the comparison of two recordings, or of two times of one, and what changed in words."""

        def make() -> Compared:
            before, after = (Part(self._recording(entry), selection) for entry, selection in parts)
            comparison = compare(before, after, view, options, normalize)
            return Compared(comparison, changes(comparison))

        answer: Compared = self._answers.get((parts, "compare", view, options, normalize), make, self._working)
        return answer

    def why_nothing(self, entry: Entry, name: str, selection: Selection, options: ViewOptions = DEFAULTS) -> str:
        """Say why nothing was found of a view, heat map or table."""
        return self._made(query.why_nothing, entry, name, selection, options)

    def lacking(self, entry: Entry) -> dict[str, str]:
        """Return which views, heat maps, histograms and tables a recording has nothing for, and why."""

        def make() -> dict[str, str]:
            names = {*query.VIEWS, *query.HEATMAPS, *query.TABLES}
            why = {name: query.lacks(self._recording(entry), name) for name in names}
            return {name: reason for name, reason in why.items() if reason}

        return self._lacking.get(entry, make, self._working)

    def _lacks_wakers(self, entry: Entry, name: str) -> bool:
        """Tell whether a recording without wakers is asked for what rests on them: to a page that is nothing, no error."""
        return not self._recording(entry).narrowed.wakers and name in self.lacking(entry)

    def of_fields(self, entry: Entry) -> dict[str, bool]:
        """Return what traced events can be asked for by their fields, and whether each is a number."""
        return self._fields.get(entry, lambda: query.of_fields(self._recording(entry)), self._working)

    def _made(self, make: Callable[..., Value], entry: Entry, *asked: Any) -> Value:
        """Return what `make` makes of a recording and what is asked of it, once."""
        answer: Value = self._answers.get((make, entry, asked), lambda: make(self._recording(entry), *asked), self._working)
        return answer

    def _recording(self, entry: Entry) -> Recording:
        return self._open.get(entry, lambda: Recording.open(entry.path), self._working)

    def _listed(self, entry: Entry) -> Listed:
        try:
            return Listed(entry, self._recording(entry).info())
        except OffwakeError as error:
            return Listed(entry, None, str(error))
        except OSError as error:
            return Listed(entry, None, f"{entry.name}: {error.strerror}; check its permissions")


class Recent(Generic[Key, Value]):
    """The values used last, at most so many; the oldest is dropped."""

    def __init__(self, at_most: int, drop: Callable[[Value], object] = lambda value: None) -> None:
        self._at_most = at_most
        self._drop = drop
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key, make: Callable[[], Value], working: threading.RLock) -> Value:
        """Return the value of a key, made under the lock `working` when it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        with working:
            with self._lock:
                if key in self._values:
                    return self._values[key]
            value = make()
            with self._lock:
                self._values[key] = value
                dropped = [self._values.popitem(last=False)[1] for _ in range(len(self._values) - self._at_most)]
            for old in dropped:
                self._drop(old)
            return value


def _scan(path: Path) -> Iterator[Entry]:
    """Yield the recordings in a folder, or the file itself."""
    try:
        names = [path / name for name in os.listdir(path) if name.endswith(SUFFIXES)] if path.is_dir() else [path]
    except OSError:
        return
    for file in names:
        try:
            status = file.lstat()
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            file_id = hashlib.blake2b(os.fsencode(file), digest_size=8).hexdigest()
            identity = status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns  # the last changes by chmod
            yield Entry(file_id, file, status.st_size, identity, file.name)
