"""The banner: whatever a capture lacks stands above every page of it, and nothing stands above one that lacks nothing."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from offwake.format.layout import Kind
from offwake.web.app import create_app
from tests.analyzer.test_nonsense import blocks_of, write
from tests.mishaps import with_losses
from tests.simulator import Simulator
from tests.traces import write_trace
from tests.web.conftest import WORKLOAD
from tests.web.test_pages import EVERY, recording


def banners(path: Path) -> set[str]:
    """Return what stands in the banner of a page of each kind of a recording."""
    client = create_app([path]).test_client()
    base = recording(client, path.name)
    pages = [client.get(f"{base}{kind}/{name}").text for kind, name in dict(EVERY).items()]
    found = [re.search(r'<aside class="banner"[^>]*>(.*?)</aside>', page, re.S) for page in pages]
    return {match[1] if match else "" for match in found}


def lost_events(path: Path) -> None:
    trace, gone = with_losses(Simulator(WORKLOAD).trace, Random(1), gaps=5)
    assert gone
    write_trace(path, trace)


def cpu_gap(path: Path) -> None:
    trace = Simulator(WORKLOAD).trace
    trace.ticks = {0: {"cpu_gaps": [[1, trace.began_ns + 1000, trace.began_ns + 1400, "away"]]}}
    write_trace(path, trace)


def truncated(path: Path) -> None:
    write_trace(path, Simulator(WORKLOAD).trace)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def nameless(path: Path) -> None:
    blocks = blocks_of(write_trace(path, Simulator(WORKLOAD).trace))
    write(path, [(block, content) for block, content in blocks if block.kind != Kind.SYMBOLS])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lost_events, r"Not complete\..* events were lost \(ring full \d+\): waits across the gaps count as unknown"),
        (cpu_gap, r"Not complete\..* CPU 1 went offline and came back"),
        (truncated, r"Not complete\..* The recording was not ended"),
        (nameless, r"Note\..* There are no symbols in the file: frames show as addresses"),
    ],
)
def test_what_is_missing_stands_above_every_page(spoil: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "spoilt.offwake"
    spoil(path)
    found = banners(path)
    assert found and all(re.search(sentence, banner, re.S) for banner in found), found


def test_open_waits_stand_above_the_pages_that_show_many(tmp_path: Path) -> None:
    short = replace(WORKLOAD, length_ns=300)
    client = create_app([write_trace(tmp_path / "short.offwake", Simulator(short).trace)]).test_client()
    base = recording(client, "short.offwake")
    for page in ("flame/off-cpu", "flame/off-wake", "heatmap/off-cpu", "histogram/off-cpu"):
        assert "shown here are open waits: they began before the recording" in client.get(f"{base}{page}?all=1").text
    assert "open waits:" not in client.get(base + "flame/on-cpu").text


def test_nothing_stands_above_what_lacks_nothing(tmp_path: Path) -> None:
    assert banners(write_trace(tmp_path / "whole.offwake", Simulator(WORKLOAD).trace)) == {""}
