"""Why a selection selects nothing of a recording: which part of it nothing fits, and what is there instead."""

from fnmatch import fnmatchcase

import numpy as np

from offwake.analyzer.recording import Recording
from offwake.analyzer.render.text import duration
from offwake.analyzer.select import Selection

__all__ = ["nothing_fits"]

NAMES_SHOWN = 8


def nothing_fits(recording: Recording, selection: Selection) -> str:
    """Say what of the selection nothing fits, in a sentence without its full stop."""
    if selection.begin_ns is not None and selection.begin_ns >= recording.duration_ns:
        return f"the recording is only {duration(recording.duration_ns)} long"
    replay = recording.replay()
    for _ in replay:  # so that every thread is known
        pass
    threads = replay.timeline.threads[: replay.timeline.thread_count]
    theirs = threads[~np.isin(threads["tgid"], recording.own_pids)]
    if selection.pid is not None and selection.pid not in theirs["tgid"]:
        return f"no thread of process {selection.pid} is in this recording; `offwake table` lists those that are"
    if selection.tid is not None and selection.tid not in theirs["tid"]:
        return f"no thread {selection.tid} is in this recording; `offwake table` lists those that are"
    if selection.comm is not None:
        names = {replay.names.texts[name] for name in theirs["name"].tolist() if name >= 0}
        if not any(fnmatchcase(name, selection.comm) for name in names):
            return f"no thread's name fits {selection.comm!r}; there are {_some(names)}"
    if selection.cgroup is not None:
        paths = {replay.cgroups.path(tgid) for tgid in set(theirs["tgid"].tolist())}
        if not any(map(selection.fits_cgroup, paths)):
            return f"no cgroup fits {selection.cgroup!r}; there are {_some(paths)}"
    return "nothing fits all of the selection"


def _some(names: set[str]) -> str:
    ordered = sorted(filter(None, names))
    more = len(ordered) - NAMES_SHOWN
    return (", ".join(ordered[:NAMES_SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")
