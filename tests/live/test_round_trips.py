"""A wire whose delay is known, with IPv4 and IPv6: round-trip times, how long connecting takes, and what is refused."""

import statistics
from typing import Any

import pytest

from tests.live.harness import Recorded, ask, record
from tests.live.networks import ADDRESSES, wire

DELAY_US, ROUNDS, SIZE, REFUSED = 40_000, 37, 1009, 3
Exchanged = tuple[Recorded, str, dict[str, Any]]


@pytest.fixture(scope="module", params=[0, 1], ids=["IPv4", "IPv6"])
def exchanged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exchanged:
    """A recording of an exchange over the wire, the far address, and what the relay says of the delay."""
    path = tmp_path_factory.mktemp("rtt") / "rtt.offwake"
    with wire(DELAY_US) as (network, relay):
        address = network.far_addresses[request.param]
        done = record(path, network.exchange(address, ROUNDS, SIZE, REFUSED), sources="tcp-rtt,tcp-drop")
    return done, address, relay


def held_ns(relay: dict[str, Any]) -> float:
    """How long the relay held packets there and back, on average."""
    ways = zip(relay["held_ns"], relay["packets"], strict=True)
    return sum(float(held / packets) for held, packets in ways)


def test_round_trip_times_are_those_of_the_wire(exchanged: Exchanged) -> None:
    workload, address, relay = exchanged
    client = workload.document["client_port"]
    rows = [row for row in workload.table("tcp-windows") if row["local_port"] == client and row["event"] == "received"]
    assert len(rows) >= ROUNDS  # something comes in every 80 ms
    assert {(row["remote"], row["remote_port"], row["pid"]) for row in rows} == {
        (address, workload.document["server_port"], workload.document["client"])
    }
    measured = statistics.median(row["srtt_ns"] for row in rows)
    assert measured == pytest.approx(held_ns(relay), rel=0.05)
    assert measured >= 2000 * DELAY_US


def test_connecting_takes_a_round_trip(exchanged: Exchanged) -> None:
    workload, _, relay = exchanged
    rows = {row["local_port"]: row for row in workload.table("tcp-sessions")}
    assert rows[workload.document["client_port"]]["connect_ns"] == pytest.approx(held_ns(relay), rel=0.05)
    assert rows[workload.document["server_port"]]["connect_ns"] is None
    heatmap = ask("heatmap", workload.path, "--of", "connect", "--pid", str(workload.document["client"]), "--json")
    assert heatmap["total"] == 1


@pytest.mark.parametrize("field", ["remote", "prefix"])
def test_histograms_tell_remote_hosts_and_networks_apart(exchanged: Exchanged, field: str) -> None:
    workload, address, relay = exchanged
    found = ask("histogram", workload.path, "--of", "tcp-rtt", "--by", field, "--json")
    expected = {
        "remote": address,
        "prefix": "fd99::/64" if ":" in address else "10.99.0.0/24",
    }
    [one] = [histogram for histogram in found["histograms"] if histogram["by"][field] == expected[field]]
    assert one["p50_ns"] == pytest.approx(held_ns(relay), rel=0.05)
    rows = [row for row in workload.table("tcp-windows") if row["srtt_ns"] is not None and row["remote"] == address]
    assert one["count"] >= len(rows) >= ROUNDS


def test_what_the_other_end_refuses_is_dropped_there_with_both_addresses(exchanged: Exchanged) -> None:
    workload, address, _ = exchanged
    rows = [row for row in workload.table("tcp-drops") if row["destination_port"] == 9]
    own = dict(zip(ADDRESSES[1], ADDRESSES[0], strict=True))[address]
    found = [(row["source"], row["destination"], row["family"], row["flags"], row["reason"]) for row in rows]
    assert found == [(own, address, "IPv6" if ":" in address else "IPv4", "SYN", "NO_SOCKET")] * REFUSED
