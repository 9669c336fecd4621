"""Counters of sources: only what they grew by is told, from when they were first read."""

from offwake.recorder.growth import Growth
from offwake.recorder.sources import Source, all_sources


def test_counters_are_told_by_what_they_grew() -> None:
    values = {"old": 5, "still": 7}
    growth = Growth([Source("counting", "", counters=lambda: dict(values)), Source("silent", "")])
    values |= {"old": 9, "new": 2}
    assert growth.taken() == {"counting": {"old": 4, "new": 2}}
    values["old"] = 1  # it began anew
    assert growth.taken() == {"counting": {}}
    values["old"] = 3
    assert growth.taken() == {"counting": {"old": 2}}


def test_the_kernels_counters_have_the_names_that_nstat_gives_them() -> None:
    read = all_sources()["tcp-stats"].counters
    assert read is not None
    assert {"TcpRetransSegs", "TcpExtTCPTimeouts", "IpInReceives", "UdpInDatagrams"} <= read().keys()
