"""Documents: what `--json` prints and the viewer's JSON downloads hold. Their keys are a promise to other programs."""

from math import isfinite
from typing import Any

from offwake.analyzer.changes import Change
from offwake.analyzer.compare import EFFECT, LEVEL, Comparison, Differences
from offwake.analyzer.explain import Decision
from offwake.analyzer.heatmap import Heatmap
from offwake.analyzer.histogram import VALUE, Histograms, bounds
from offwake.analyzer.profile import Profile
from offwake.analyzer.tables import Table

__all__ = [
    "comparison_document",
    "heatmap_document",
    "histogram_document",
    "idle_document",
    "profile_document",
    "table_document",
    "trust",
]


def profile_document(profile: Profile) -> dict[str, Any]:
    """Return a profile's stacks, root first, in nanoseconds, sorted by frames; of one that counts, without `_ns`."""
    in_unit = "_ns" if profile.unit == "ns" else ""
    return {
        "view": profile.view,
        "unit": profile.unit,
        f"total{in_unit}": profile.total_ns,
        "hidden_ns": profile.hidden_ns,
        "open_ns": profile.open_ns,
        "unknown_ns": profile.unknown_ns,
        "stacks": [
            {"frames": list(frames), f"value{in_unit}": weight.value_ns, "count": weight.count}
            for frames, weight in profile
        ],
    }


def heatmap_document(heatmap: Heatmap) -> dict[str, Any]:
    """Return a heat map: columns' starts (ns since the recording's start), rows' lower bounds, counts[row][column].

    `rows_of` is "latency", or "offset" within each column's time. What took no time lies in a row from 0.
    """
    return {
        "of": heatmap.of,
        "unit": heatmap.unit,
        "columns": heatmap.columns.tolist(),
        "rows_of": heatmap.rows_of,
        "rows": heatmap.rows.tolist(),
        "counts": heatmap.counts.tolist(),
        "total": heatmap.total,
        "hidden_ns": heatmap.hidden_ns,
        "open": heatmap.open,
    }


def histogram_document(found: Histograms) -> dict[str, Any]:
    """Return histograms in the order of time and labels; a bucket is its lower bound, its end and its count.

    Bounds are in ns, the lower one included and the end not. Intervals without any latency are not in the list.
    """
    return {
        "of": found.of,
        "unit": "" if found.unit == VALUE else "ns",
        "interval_ns": found.interval_ns,
        "total": found.total,
        "hidden_ns": found.hidden_ns,
        "open": found.open,
        "histograms": [
            {
                "by": one.by,
                "start_ns": one.start_ns,
                "count": one.count,
                "min_ns": one.min_ns,
                "p50_ns": one.p50_ns,
                "p99_ns": one.p99_ns,
                "max_ns": one.max_ns,
                "buckets": [
                    [low * found.unit_ns, end * found.unit_ns, count]
                    for (low, end), count in zip(bounds(len(one.counts)), one.counts, strict=True)
                ],
            }
            for one in found.found
        ],
    }


def comparison_document(compared: Comparison, rows: list[Change]) -> dict[str, Any]:
    """Return a comparison: all stacks, frames that were tested, and changes in words.

    What is normalized per second is nanoseconds a second; by share, billionths of all. A stack's `significant`, `p` and `q`
    are of the time that ends in its last frame; `total` is of everything that begins with its frames. `p` and `q` are 1
    for what was too small to be tested.
    """
    total, own, union = _columns(compared.total), _columns(compared.own), compared.union
    return {
        "view": compared.view,
        "normalize": compared.normalize,
        "unit": {"second": "ns/s", "share": "1e-9", "none": "ns"}[compared.normalize],
        "before_total_ns": int(compared.before_ns.sum()),
        "after_total_ns": int(compared.after_ns.sum()),
        "before_hidden_ns": compared.before.profile.hidden_ns,
        "after_hidden_ns": compared.after.profile.hidden_ns,
        "before_duration_ns": round(compared.before.seconds * 1e9),
        "after_duration_ns": round(compared.after.seconds * 1e9),
        "level": LEVEL,
        "effect": EFFECT,
        "tested": compared.tested,
        "stacks": [
            {"frames": list(stack), **own[leaf], "total": total[leaf]}
            for stack, leaf in zip(union.stacks, union.leaf.tolist(), strict=True)
        ],
        "frames": [
            {"frames": list(union.path(frame)), "self": own[frame], "total": total[frame]}
            for frame in range(len(union.first))
            if total[frame]["p"] < 1 or own[frame]["p"] < 1
        ],
        "changes": [
            {
                "words": row.words,
                "before_ns": row.before_ns,
                "after_ns": row.after_ns,
                "delta_ns": row.delta_ns,
                "significant": row.stands_out,
                "p": row.p,
                "q": row.q,
            }
            for row in rows
        ],
    }


def _columns(of: Differences) -> list[dict[str, Any]]:
    names = ("before_ns", "after_ns", "delta_ns", "significant", "p", "q")
    columns = (of.before_ns, of.after_ns, of.delta_ns, of.stands_out, of.p, of.q)
    return [dict(zip(names, row, strict=True)) for row in zip(*(column.tolist() for column in columns), strict=True)]


def trust(info: dict[str, Any]) -> dict[str, Any]:
    """Return what a document says of the recording (its `info()`) besides: if it is complete, and what to know of it."""
    return {"complete": info["complete"], "notices": info["verdict"]}


def table_document(table: Table) -> list[dict[str, Any]]:
    """Return a table's rows, each with every column; what is not known is null."""
    return [{column.name: row.get(column.name) for column in table.columns} for row in table.rows]


def idle_document(decisions: list[Decision]) -> list[dict[str, Any]]:
    """Return every decision on waits: idle or not, by which rule, and with which figures."""
    return [_decision(decision) for decision in decisions]


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "comm": decision.comm,
        "stack": decision.stack,
        "threads": len(decision.threads),
        "waits": decision.waits,
        "blocked_ns": decision.blocked_ns,
        "idle": decision.rule is not None,
        "rule": decision.rule.name if decision.rule else None,
        "nearest": decision.nearest.name if decision.nearest else None,
        "conditions": [
            {"key": reason.key, "wanted": reason.wanted, "found": _finite(reason.found), "holds": reason.holds}
            for reason in decision.reasons
        ],
        "waited_for_ns": dict(decision.waited_for_ns.most_common()),
    }


def _finite(found: float | None) -> float | None:
    return found if found is not None and isfinite(found) else None
