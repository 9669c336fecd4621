"""What a recording holds and how far it can be trusted: `offwake info`, and the banner over every picture."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from offwake.analyzer.counted import counted_layouts, rows_of
from offwake.analyzer.groups import Weights
from offwake.analyzer.interrupts import interrupt_source
from offwake.analyzer.intervals import UNKNOWN
from offwake.analyzer.machine import Machine
from offwake.analyzer.naming import Naming
from offwake.analyzer.render.text import counted
from offwake.analyzer.replay import Replay
from offwake.analyzer.scope import Scope
from offwake.analyzer.select import Selection
from offwake.analyzer.unwind import End

if TYPE_CHECKING:
    from offwake.analyzer.recording import Recording

__all__ = ["facts", "notices"]

CUT_SHORT_WORTH_TELLING = 0.01
REDACTED = "(redacted)"


def facts(recording: "Recording") -> dict[str, Any]:
    """Return the document of `offwake info --json`. `verdict` holds a sentence for everything that is not as it should be.

    `complete` says that the recording was ended, that nothing of it is damaged, that no event was lost and that no CPU came
    or went; `missing_places` counts the places at which blocks, or bytes of a ring, are missing. Of the threads' time
    `unknown_ns` is not known, and `open_ns` is of waits that began before the recording or did not end in it.
    """
    everything, stacks, unknown_ns, open_ns = Scope(recording, Selection(show_all=True)), Weights(2), 0, 0
    replay = everything.replay
    for batch in replay:
        rows = batch.activity.intervals
        unknown_ns += everything.unknown_ns(rows)
        waits = rows[(rows["kind"] != UNKNOWN) & (rows["open"] > 0) & everything.chosen(rows)]
        open_ns += int((waits["end_ns"] - waits["begin_ns"]).sum())
        for stack, space in (("stack", "space"), ("waker_stack", "waker_space")):
            walked = rows[rows[stack] >= 0]
            stacks.add([walked[stack], walked[space]], np.ones(len(walked), np.int64))
    keyframe, reader = recording.keyframe, recording.reader
    lost = _lost(recording)
    threads = replay.timeline.threads[: replay.timeline.thread_count]
    theirs = threads[~np.isin(threads["tgid"], recording.own_pids)]
    machine = Machine(recording.began_ns, replay.cpu_gaps, replay.clocks)
    document: dict[str, Any] = {
        "format": [reader.blocks[0].major, reader.blocks[0].minor],
        "host": REDACTED if recording.redacted else keyframe["host"],
        "redacted": recording.redacted,
        "kernel": keyframe["kernel"],
        "cpus": len(keyframe["cpus"]),
        "started": datetime.fromtimestamp(recording.began_realtime_ns / 1e9, UTC).isoformat(timespec="milliseconds"),
        "duration_ns": recording.duration_ns,
        "command": keyframe["command"],
        "narrowed": {**keyframe["narrowing"], "min_block_ns": keyframe.get("min_block_ns", 0)},
        "of": recording.narrowed.words(),
        "ended_by": recording.footer.get("reason"),
        "sources": _sources(replay),
        "unavailable": keyframe["unavailable"],
        "events": sum(source["events"] for source in _sources(replay)),
        "probed": _probed(replay),
        "lost": {"total": sum(lost.values()), "by_cause": lost},
        "unknown_ns": unknown_ns,
        "open_ns": open_ns,
        "ended": reader.finished,
        "damaged_bytes": sum(damage.length for damage in reader.damage),
        "missing_places": sum(not damage.length for damage in reader.damage),
        "complete": reader.finished and not reader.damage and not any(lost.values()) and not replay.cpu_gaps,
        "blocks": len(reader.blocks),
        "bytes": reader.size,
        "threads": len(theirs),
        "processes": len(np.unique(theirs["tgid"])),
        "user_stacks": _user_stacks(stacks, replay.naming) | {"recorded": len(replay.decoder.user_stacks)},
        "missing_switches": _missing_switches(replay),
        **machine.document(),
        "recorder": {"version": keyframe["version"], "pid": recording.recorder_pid},
    }
    document["own_cost"] = _own_cost(recording.footer, document["events"])
    of_stacks_and_switches = (*_cut_short(document["user_stacks"]), *_hidden_switches(document["missing_switches"]))
    sentences = (*machine.sentences(), *_not_probed(document["probed"]), *of_stacks_and_switches)
    return document | {"verdict": [*notices(recording), *sentences]}


def _sources(replay: Replay) -> list[dict[str, Any]]:
    found: Counter[str] = Counter()
    for layout in replay.decoder.layouts.values():
        found[layout.source] += replay.counts[layout.name]
    layouts = counted_layouts(replay.recording.keyframe)
    for one in replay.recording.keyframe["counted"]:
        for _, octets in replay.counted.get(one["name"], ()):
            found[one["source"]] += int(rows_of(octets, layouts[one["name"]])["count"].sum())
    return [{"name": source, "events": found[source]} for source in replay.recording.keyframe["sources"]]


def _probed(replay: Replay) -> list[dict[str, Any]]:
    """Return what became of each file that a source's probes were to go into; times are None for before the recording."""
    began_ns = replay.recording.began_ns
    return [
        {"source": source, "file": path, "why_not": why or None}
        | {"mapped_ns": mapped_ns - began_ns if mapped_ns else None}
        | {"probed_ns": None if why else max(probed_ns - began_ns, 0)}
        for source, path, mapped_ns, probed_ns, why in replay.probed
    ]


def _not_probed(probed: list[dict[str, Any]]) -> Iterator[str]:
    for one in probed:
        if one["why_not"]:
            yield f"Source {one['source']} saw nothing of {one['file']}: {one['why_not']}."


def _lost(recording: "Recording") -> dict[str, int]:
    """Count lost events by cause: what the recorder said at its end, else what it said last."""
    if "lost_by_cause" in recording.footer:
        return dict(recording.footer["lost_by_cause"])
    tick = recording.last_tick
    rows = [row for kinds in tick.get("counters", {}).values() for row in kinds.values()]
    no_ring = sum(row[3] for row in rows if len(row) > 3)
    failed = sum(row[2] for row in rows) - no_ring + tick.get("side_band_lost", 0)
    return {"ring full": failed, "no ring": no_ring, "recursion": sum(tick.get("recursion_misses", {}).values())}


def _own_cost(footer: dict[str, Any], events: int) -> dict[str, Any]:
    """Return what the recorder said of itself; None for what it did not say."""
    cpu_ns = footer.get("own_cpu_ns")
    return {key: footer.get(key) for key in ("own_cpu_ns", "own_bytes", "own_device", "peak_memory_bytes")} | {
        "own_cpu_ns_per_event": cpu_ns // events if cpu_ns is not None and events else None
    }


def _user_stacks(stacks: Weights, naming: Naming) -> dict[str, Any]:
    """Count user stacks, those that reach the beginning of their thread, and the others by what they ended at."""
    ends: Counter[End] = Counter()
    for (stack, space), count in zip(stacks.groups.keys.tolist(), stacks.count.tolist(), strict=True):
        end = naming.ended(stack, space)
        if end is not None and interrupt_source(naming.leaf_first(stack, space)) is None:  # whose user part is not shown
            ends[end] += count
    whole, total = ends.pop(End.WHOLE, 0), ends.total()
    why = {end.words: count for end, count in ends.most_common()}
    return {"total": total + whole, "whole": whole, "cut_short": total, "why": why}


def _missing_switches(replay: Replay) -> dict[str, int]:
    """Count switches that the kernel did not show, by the thread's name."""
    threads = replay.timeline.threads[: replay.timeline.thread_count]
    found: dict[str, int] = {}
    for thread in threads[threads["missing"] > 0]:
        name = replay.names.texts[thread["name"]] if thread["name"] >= 0 else ""
        label = f"{name} (process {thread['tgid']})"
        found[label] = found.get(label, 0) + int(thread["missing"])
    return found


def notices(recording: "Recording") -> Iterator[str]:
    """Yield a sentence for everything about the file that is not as it should be, as far as it has been read."""
    reader = recording.reader
    yield from reader.notices
    if not reader.finished:
        seconds = recording.duration_ns / 1e9
        yield (
            f"The recording was not ended: the recorder was killed, or the file cut off. It is whole up to {seconds:.1f} s; "
            "`offwake recover` makes a finished file of it."
        )
    damaged = [damage.length for damage in reader.damage if damage.length]
    if damaged:
        size, places = counted(sum(damaged), "byte"), counted(len(damaged), "place")
        yield f"The file is damaged in {places} ({size}): `offwake verify` lists what is lost."
    if len(damaged) < len(reader.damage):
        yield "Parts of the file are missing: `offwake verify` lists where."
    lost = _lost(recording)
    if total := sum(lost.values()):
        causes = ", ".join(f"{cause} {count:,}" for cause, count in lost.items() if count)
        yield f"{total:,} events were lost ({causes}): waits across the gaps count as unknown."
    if not (recording.symbols["kernel"] or recording.symbols["files"]):
        yield (
            "There are no symbols in the file: frames show as addresses. `offwake recover` adds them, on the same host "
            "until it is booted again."
        )
    if recording.footer.get("all_named") is False:
        yield "The recording's --max-size had no room for all names and unwind tables: some frames show as addresses."
    if unavailable := recording.keyframe["unavailable"]:
        yield f"Not recorded: {'; '.join(f'{name}: {why}' for name, why in unavailable.items())}."


def _cut_short(stacks: dict[str, Any]) -> Iterator[str]:
    if stacks["cut_short"] > CUT_SHORT_WORTH_TELLING * stacks["total"]:
        why = ", ".join(f"{reason} {count:,}" for reason, count in list(stacks["why"].items())[:3])
        yield f"{stacks['cut_short']:,} of {stacks['total']:,} user stacks are not whole: {why}."


def _hidden_switches(missing: dict[str, int]) -> Iterator[str]:
    if missing:
        whose = ", ".join(f"{name} {count}" for name, count in list(missing.items())[:3])
        total = sum(missing.values())
        yield f"The kernel did not show {total:,} context switches ({whose}): the time around them counts as unknown."
