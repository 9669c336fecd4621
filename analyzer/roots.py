"""What a stack's first frame is called: a thread's name, the thread, its process or its cgroup (`--by`)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.replay import Replay

__all__ = ["BY", "named_by"]

BY = ("comm", "thread", "process", "cgroup")


def named_by(by: str, thread: NDArray[np.int32], name: NDArray[np.int32], replay: Replay) -> NDArray[np.int32]:
    """Return the name (an id of `replay.names`; int32, N) of threads, given by their places and the names they had.

    A place below 0 is no thread and keeps its name.
    """
    if by == "comm":
        return name
    label = _LABELS[by]
    pairs, which = np.unique(np.stack([thread, name]), axis=1, return_inverse=True)
    ids = [
        replay.names.id(label(place, name_id, replay)) if place >= 0 else name_id for place, name_id in pairs.T.tolist()
    ]
    return np.array(ids, np.int32)[which.reshape(-1)]


def _thread(place: int, name: int, replay: Replay) -> str:
    return f"{_text(name, replay)} ({replay.timeline.threads[place]['tid']})"


def _process(place: int, name: int, replay: Replay) -> str:
    tgid = int(replay.timeline.threads[place]["tgid"])
    leader = replay.leader_name(tgid)
    return f"{_text(leader if leader >= 0 else name, replay)} ({tgid})"


def _cgroup(place: int, name: int, replay: Replay) -> str:
    path = replay.cgroups.path(int(replay.timeline.threads[place]["tgid"]))
    return replay.cgroups.label(path) if path else "[no cgroup]"


def _text(name: int, replay: Replay) -> str:
    return replay.names.texts[name] if name >= 0 else "[unnamed]"


_LABELS: dict[str, Callable[[int, int, Replay], str]] = {"thread": _thread, "process": _process, "cgroup": _cgroup}
