"""docs/scripting.md: every key that a document has is on the page, and every key on the page is in a document."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo.offwake"
OFFWAKE: tuple[str | Path, ...] = (sys.executable, "-m", "offwake")
PAGE = (ROOT / "docs" / "scripting.md").read_text()
FREE = ("by", "by_cause", "missing_switches", "own_device", "unavailable", "waited_for_ns", "why")
"""Keys of what maps names of all kinds."""
WORDS: dict[str, tuple[str | Path, ...]] = {
    "folded": (DEMO,),
    "heatmap": (DEMO,),
    "histogram": (DEMO,),
    "diff": (DEMO, "--before", "0-0.5", "--after", "0.5-1"),
    "idle": (DEMO,),
    "info": (DEMO,),
    "verify": (DEMO,),
    "sources": (),
    "doctor": (),
}


def section(command: str) -> str:
    return PAGE.partition(f"### `{command}`\n")[2].partition("\n### ")[0]


def keys(document: Any) -> Iterator[str]:
    """Yield all keys of a document, those of the documents in it too."""
    if isinstance(document, list):
        for one in document:
            yield from keys(one)
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            if key not in FREE:
                yield from keys(value)


@pytest.mark.parametrize("command", WORDS)
def test_the_page_has_the_keys_of_each_document(command: str) -> None:
    words = [*OFFWAKE, command, *WORDS[command], "--json"]
    document = json.loads(subprocess.run(words, check=False, capture_output=True, text=True).stdout)
    rows = [row.split("|") for row in section(command).splitlines() if row.startswith("| ") and not row.startswith("| key")]
    named = [key for _, names, *_ in rows for key in names.strip().split(", ")]
    inside = [key for _, _, text, *_ in rows for names in re.findall(r"{(.+?)}", text) for key in names.split(", ")]
    assert sorted(named) == sorted(document[0] if isinstance(document, list) else document)
    assert {*keys(document)} <= {*named, *inside}


def test_the_page_has_the_keys_of_a_line_of_dump() -> None:
    with subprocess.Popen([*OFFWAKE, "dump", DEMO, "--json"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        found = {*json.loads(process.stdout.readline())}
        process.kill()
    assert {"time_ns", "cpu", "event"} <= {key for key in found if f"`{key}`" in section("dump")}
