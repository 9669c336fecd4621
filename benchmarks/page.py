"""Where the benchmarks' figures go: every single run to results.json, a table to a page of docs/."""

import json
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

__all__ = ["OFFWAKE", "WITH_TRACEFS", "machine", "publish"]

HERE = Path(__file__).parent
OFFWAKE = Path(sys.prefix) / "bin" / "offwake"
WITH_TRACEFS = "mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing; exec "
"""What a shell in a mount namespace of its own does before it runs perf, so that the host is left as it was."""


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    model = names[0] if names else platform.machine()
    return {"kernel": platform.release(), "cpus": os.cpu_count(), "model": model}


def publish(benchmark: str, results: dict[str, Any], table: str, on_page: str = "performance.md") -> None:
    """Keep a benchmark's results beside those of others, and put its table between its markers on the page."""
    kept = HERE / "results.json"
    document = json.loads(kept.read_text()) if kept.exists() else {}
    kept.write_text(json.dumps(document | {benchmark: results}, indent=1) + "\n")
    page = HERE.parent / "docs" / on_page
    begin, end = f"<!-- {benchmark}: begin -->", f"<!-- {benchmark}: end -->"
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}")
    print(table)
