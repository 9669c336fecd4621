"""What a recording knows of every thread's waits at every stack: the evidence by which waits are judged idle or not.

Gathered in one pass over the whole recording, whatever is selected. Memory follows the threads and stacks, not the waits:
of each thread only its last waits are remembered, which is where those who waited for it look.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled
from offwake.analyzer.groups import Groups, Weights
from offwake.analyzer.idle import stack_text
from offwake.analyzer.interrupts import interrupt_source
from offwake.analyzer.intervals import NEVER, is_blocked
from offwake.analyzer.naming import Naming
from offwake.analyzer.replay import Replay
from offwake.analyzer.stacks import SNAPSHOT_STACKS

if TYPE_CHECKING:
    from offwake.analyzer.recording import Recording

__all__ = ["Evidence", "gather"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Ids = NDArray[np.int32]

# Who ended a wait.
OPEN, THREAD, TIMER, INTERRUPT = range(4)
# What is summed of each group: waits and nanoseconds in all; of those that ended, nanoseconds and their squares; those in
# state D; and how many were ended by whom.
WAITS, ALL_NS, ENDED_NS, SQUARES, UNINTERRUPTIBLE, ENDED_BY = range(6)
SUMS = ENDED_BY + 4

REMEMBERED = 64  # waits of each thread
PAIRS_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class Evidence:
    """What is known of G groups of waits, each of one thread at one stack.

    `raw` numbers (thread, stack, space); `group_of` says to which group each of those belongs (int32). `thread` is the
    place in the replay's table (int32, G), `text` the stack as rules see it, `sums` what was counted (float64, G × SUMS).
    `pairs` says who waited for whom: the waiter's group, the group of the wait meanwhile (int32, P × 2), and `pair_ns`
    for how long (int64, P). `listeners` are the processes that serve others.
    """

    raw: Groups
    group_of: Ids
    thread: Ids
    text: list[str]
    sums: Floats
    pairs: Ids
    pair_ns: Ints
    threads: "_Threads"
    listeners: frozenset[int]

    def __len__(self) -> int:
        return len(self.thread)

    @property
    def tgid(self) -> Ids:
        """The process of each group's thread."""
        return np.asarray(self.threads.tgid[self.thread])

    @property
    def comm(self) -> list[str]:
        """The last name of each group's thread."""
        return [self.threads.comm[place] for place in self.thread.tolist()]

    def groups(self, waits: NDArray[np.void]) -> Ids:
        """Return the group of each wait, of any pass over the recording."""
        return np.asarray(self.group_of[self.raw.ids([waits["thread"], waits["stack"], waits["space"]])])

    @property
    def blocked_ns(self) -> Floats:
        """Nanoseconds that the waits took."""
        return np.asarray(self.sums[:, ALL_NS])

    @cached_property
    def figures(self) -> dict[str, Floats]:
        """What rules can bound (float64, G each), all but `waited_for_share`: that depends on what is idle already."""
        sums = self.sums
        ended_by = sums[:, ENDED_BY:]
        ended = sums[:, WAITS] - ended_by[:, OPEN]
        mean = _ratio(sums[:, ENDED_NS], ended)
        spread = np.sqrt(np.maximum(_ratio(sums[:, SQUARES], ended) - mean**2, 0))
        of_thread = _summed(self.thread, self.blocked_ns, len(self.threads.lived_ns))
        return {
            "waits": sums[:, WAITS],
            "timer_share": _ratio(ended_by[:, TIMER], ended),
            "interrupt_share": _ratio(ended_by[:, INTERRUPT], ended),
            "thread_share": _ratio(ended_by[:, THREAD], ended),
            "uninterruptible_share": _ratio(sums[:, UNINTERRUPTIBLE], sums[:, WAITS]),
            "variation": np.where(ended > 1, _ratio(spread, mean), np.inf),
            "blocked_share": _ratio(self.blocked_ns, of_thread[self.thread]),
            "lifetime_share": _ratio(self.blocked_ns, self.threads.lived_ns[self.thread]),
            "alike": np.bincount(self._kin, self._is_main)[self._kin].astype(np.float64),
        }

    def waited_for_ns(self, idle: NDArray[np.bool_]) -> Floats:
        """Return for how long others waited for these threads meanwhile, without waits in groups that are idle."""
        counts = ~idle[self.pairs[:, 0]]
        return _summed(self.pairs[counts, 1], self.pair_ns[counts], len(self))

    def waited_for_share(self, idle: NDArray[np.bool_]) -> Floats:
        """Return the share of the time that this is, of the thread or of all that are alike, whichever is larger."""
        waited_ns = self.waited_for_ns(idle)
        own = _ratio(waited_ns, self.blocked_ns)
        main = self._is_main
        of_kin = _ratio(_summed(self._kin, waited_ns * main), _summed(self._kin, self.blocked_ns * main))
        return np.minimum(np.maximum(own, of_kin[self._kin]), 1)

    @cached_property
    def _kin(self) -> Ids:
        """Numbers (process, stack): groups of the same number are alike."""
        texts = {text: number for number, text in enumerate(dict.fromkeys(self.text))}
        columns = np.array([texts[text] for text in self.text], np.int32), self.tgid
        return Groups(2).ids(list(columns))

    @cached_property
    def _is_main(self) -> NDArray[np.bool_]:
        """Whether the thread was blocked longer in this group than in any other of its own."""
        found = np.zeros(len(self), np.bool_)
        order = np.lexsort((-self.blocked_ns, self.thread))
        found[order[np.unique(self.thread[order], return_index=True)[1]]] = True
        return found


@dataclass(frozen=True)
class _Threads:
    """How long threads lived within the recording, in which process and under which last name, by their places."""

    lived_ns: Floats
    tgid: Ids
    comm: list[str]


class _Gatherer:
    """Takes a pass's intervals."""

    def __init__(self, replay: Replay) -> None:
        self._naming = replay.naming
        self.raw, self._wakers = Groups(3), Groups(2)
        self.pairs = Weights(2)
        self.sums = np.zeros((256, SUMS))
        self._waker_kind = np.empty(0, np.int8)
        self._past = (np.zeros((256, REMEMBERED, 3), np.int64), np.zeros(256, np.int64))
        self._found = (np.empty((PAIRS_AT_ONCE, 2), np.int32), np.empty(PAIRS_AT_ONCE, np.int64))

    def feed(self, intervals: NDArray[np.void]) -> None:
        """Take intervals, in the order in which they ended."""
        rows = intervals[is_blocked(intervals)]
        if not len(rows):
            return
        groups = self.raw.ids([rows["thread"], rows["stack"], rows["space"]])
        endings = self._endings(rows)
        self.sums = _with_room(self.sums, len(self.raw))
        threads = int(max(rows["thread"].max(), rows["waker"].max())) + 1
        self._past = _with_room(self._past[0], threads), _with_room(self._past[1], threads)
        done = 0
        while done < len(rows):
            done, found = _take(rows, done, (groups, endings), self.sums, self._past, self._found)
            pairs, pair_ns = self._found
            self.pairs.add([pairs[:found, 0], pairs[:found, 1]], pair_ns[:found])

    def _endings(self, rows: NDArray[np.void]) -> NDArray[np.int8]:
        """Tell who ended each wait. Whether a waker's stack is an interrupt's is decided once for each."""
        wakers = self._wakers.ids([rows["waker_stack"], rows["waker_space"]])
        fresh = self._wakers.keys[len(self._waker_kind) :].tolist()
        kinds = [self._kind_of_waker(stack, space) for stack, space in fresh]
        self._waker_kind = np.append(self._waker_kind, np.array(kinds, np.int8))
        endings = self._waker_kind[wakers]
        endings[(rows["waker"] < 0) & (endings == THREAD)] = INTERRUPT  # the idle task itself, on behalf of one
        endings[(rows["waker"] < 0) & (rows["waker_cpu"] < 0)] = OPEN
        return endings

    def _kind_of_waker(self, stack: int, space: int) -> int:
        cut = interrupt_source(self._naming.leaf_first(stack, space))
        if cut is None:
            return THREAD
        return TIMER if cut[1] == "[timer]" else INTERRUPT


def gather(recording: "Recording") -> Evidence:
    """Go over the whole recording for the evidence."""
    replay = recording.replay()
    gatherer = _Gatherer(replay)
    for batch in replay:
        gatherer.feed(batch.activity.intervals)
    group_of, thread, text = _grouped(gatherer, replay.naming)
    sums = np.zeros((len(text), SUMS))
    np.add.at(sums, group_of, gatherer.sums[: len(group_of)])
    threads = _threads(replay)
    pairs = group_of[gatherer.pairs.groups.keys]
    counts = ~np.isin(threads.tgid[thread[pairs[:, 0]]], recording.own_pids)
    pair_ns, listeners = gatherer.pairs.value_ns[counts], frozenset(replay.listeners)
    return Evidence(gatherer.raw, group_of, thread, text, sums, pairs[counts], pair_ns, threads, listeners)


def _grouped(gatherer: _Gatherer, naming: Naming) -> tuple[Ids, Ids, list[str]]:
    """Group by thread and the stack's text. Returns the group of each raw one, and of each group its thread and text.

    A wait that was open at the beginning has only the kernel's part of its stack, from the snapshot: it belongs to the
    largest group of its thread whose stack ends so.
    """
    keys, blocked_ns = gatherer.raw.keys, gatherer.sums[:, ALL_NS]
    numbers: dict[tuple[int, str], int] = {}
    of_thread: dict[int, list[str]] = {}
    group_of = np.empty(len(keys), np.int32)
    is_partial = keys[:, 1] <= SNAPSHOT_STACKS
    for row in np.lexsort((-blocked_ns[: len(keys)], is_partial)).tolist():
        place, stack, space = keys[row].tolist()
        text = stack_text(naming.leaf_first(stack, space))
        known = of_thread.setdefault(place, [])
        if is_partial[row]:
            text = next((longer for longer in known if text and longer.endswith(text)), text)
        known.append(text)
        group_of[row] = numbers.setdefault((place, text), len(numbers))
    return group_of, np.array([place for place, _ in numbers], np.int32), [text for _, text in numbers]


def _threads(replay: Replay) -> _Threads:
    threads = replay.timeline.threads[: replay.timeline.thread_count]
    died_ns = np.where(threads["died_ns"] == NEVER, replay.recording.ended_ns, threads["died_ns"])
    comm = [replay.names.texts[name] if name >= 0 else "" for name in threads["name"].tolist()]
    return _Threads((died_ns - threads["born_ns"]).astype(np.float64), threads["tgid"].astype(np.int32), comm)


def _with_room(rows: NDArray[Any], count: int) -> NDArray[Any]:
    while len(rows) < count:
        rows = np.concatenate((rows, np.zeros_like(rows)))
    return rows


def _summed(ids: Ids, values: NDArray[Any], count: int = 0) -> Floats:
    return np.bincount(ids, values, count).astype(np.float64, copy=False)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; nothing of nothing is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


@compiled
def _take(
    rows: NDArray[np.void],
    done: int,
    known: tuple[Ids, NDArray[np.int8]],
    sums: Floats,
    past: tuple[Ints, Ints],
    found: tuple[Ids, Ints],
) -> tuple[int, int]:
    """Sum up waits and find who waited for whom, until all are done or `found` is full.

    Returns how many are done, and how many pairs were found. `past` is a ring of each thread's last waits (begin, end and
    group of each), and how many there were.
    """
    groups, endings = known
    waits, counts = past
    pairs, pair_ns = found
    pair = 0
    while done < len(rows) and pair < len(pair_ns) - REMEMBERED - 1:
        row, group, ending = rows[done], groups[done], endings[done]
        done += 1
        begin, end = row.begin_ns, row.wake_ns
        length = float(end - begin)
        sums[group, WAITS] += 1
        sums[group, ALL_NS] += length
        sums[group, ENDED_BY + ending] += 1
        if ending != OPEN:
            sums[group, ENDED_NS] += length
            sums[group, SQUARES] += length * length
        if row.state & 2 and not row.state & 0x400:  # TASK_UNINTERRUPTIBLE, but not TASK_NOLOAD: idle
            sums[group, UNINTERRUPTIBLE] += 1
        if ending == THREAD and row.waker != row.thread:
            pair = _walk_back(begin, end, group, (waits[row.waker], counts[row.waker]), found, pair)
        slot = counts[row.thread] % REMEMBERED
        counts[row.thread] += 1
        latest = waits[row.thread, slot]
        latest[0], latest[1], latest[2] = begin, end, group
    return done, pair


@compiled
def _walk_back(begin: int, end: int, group: int, past: tuple[Ints, int], found: tuple[Ids, Ints], pair: int) -> int:
    """Find the waker's waits between `begin` and `end`, the last one first.

    If there were more than are remembered, the rest counts to the oldest known: rather too much than too little.
    """
    waits, count = past
    pairs, pair_ns = found
    first = pair
    for step in range(min(count, REMEMBERED)):
        wait = waits[(count - 1 - step) % REMEMBERED]
        if wait[1] <= begin:
            return pair
        since = max(wait[0], begin)
        if step == REMEMBERED - 1 and count > REMEMBERED:
            since = begin
        if since >= min(wait[1], end):
            continue
        if pair == first or pairs[pair - 1, 1] != wait[2]:
            pairs[pair, 0], pairs[pair, 1], pair_ns[pair] = group, wait[2], 0
            pair += 1
        pair_ns[pair - 1] += min(wait[1], end) - since
    return pair
