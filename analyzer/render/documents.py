"""Documents: what `--json` prints and the viewer's JSON downloads hold. Their keys are a promise to other programs."""

from typing import Any

from offwake.analyzer.heatmap import Heatmap
from offwake.analyzer.profile import Profile
from offwake.analyzer.tables import Table

__all__ = ["heatmap_document", "profile_document", "table_document"]


def profile_document(profile: Profile) -> dict[str, Any]:
    """Return a profile's stacks, root first, in nanoseconds, sorted by frames."""
    return {
        "view": profile.view,
        "unit": "ns",
        "total_ns": profile.total_ns,
        "hidden_ns": profile.hidden_ns,
        "stacks": [
            {"frames": list(frames), "value_ns": weight.value_ns, "count": weight.count} for frames, weight in profile
        ],
    }


def heatmap_document(heatmap: Heatmap) -> dict[str, Any]:
    """Return a heat map: columns' starts (ns since the recording's start), rows' lower bounds, counts[row][column]."""
    return {
        "of": heatmap.of,
        "unit": heatmap.unit,
        "columns": heatmap.columns.tolist(),
        "rows": heatmap.rows.tolist(),
        "counts": heatmap.counts.tolist(),
        "total": heatmap.total,
    }


def table_document(table: Table) -> list[dict[str, Any]]:
    """Return a table's rows, each with every column; what is not known is null."""
    return [{column.name: row.get(column.name) for column in table.columns} for row in table.rows]
