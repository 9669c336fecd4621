"""Twenty thousand fuzzed requests to the viewer: no 500, and memory that does not grow with them."""

import resource
from pathlib import Path

import pytest

from offwake.web.app import create_app
from tests.simulator import Simulator
from tests.traces import write_trace
from tests.web.conftest import WORKLOAD
from tests.web.fuzz import fuzz
from tests.web.test_pages import recording

GROWTH_AT_MOST_KB = 100_000


@pytest.mark.timeout(3600)
def test_twenty_thousand_fuzzed_requests(tmp_path: Path) -> None:
    client = create_app([write_trace(tmp_path / "whole.offwake", Simulator(WORKLOAD).trace)]).test_client()
    base = recording(client)
    fuzz(client, base, seed=0, requests=2_000)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(1, 10):
        fuzz(client, base, seed, requests=2_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < GROWTH_AT_MOST_KB
