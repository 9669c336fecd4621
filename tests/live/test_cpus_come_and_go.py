"""CPUs that go offline and come back, or come late: recorded while they are there, and told of, never a wrong duration."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.harness import Recorded, ask, offwake

SWITCH = Path("/sys/devices/system/cpu/cpu1/online")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    if not SWITCH.exists():
        pytest.skip("CPU 1 cannot be taken offline here")
    try:
        yield
    finally:
        SWITCH.write_text("1")


def recorded_under(path: Path, script: str) -> Recorded:
    """Record a shell script that prints a workload's document."""
    result = offwake("record", "-o", path, "--", "sh", "-c", script)
    assert result.returncode in (0, 3), result.stderr  # the kernel may have had something to say on a CPU without a ring
    return Recorded(path, json.loads(result.stdout))


def assert_waits_are_true_or_unknown(recorded: Recorded) -> None:
    rows = {row["tid"]: row for row in recorded.table("threads")}
    for thread in recorded.threads:
        row = rows[thread.tid]
        off_cpu_ns, waited_ns = row["blocked_ns"] + row["run_queue_ns"] + row["preempted_ns"], thread.wall_ns - thread.cpu_ns
        assert abs(waited_ns - off_cpu_ns) <= 0.02 * waited_ns + recorded.not_comparable_ns, thread.name
        assert row["on_cpu_ns"] <= 1.02 * thread.wall_ns - waited_ns + recorded.document["stolen_ns"], thread.name


def test_a_cpu_that_goes_offline_and_comes_back(workload: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "away.offwake"
    away = f"echo 0 > {SWITCH}; sleep 0.5; echo 1 > {SWITCH}"
    recorded = recorded_under(path, f"{workload('pipe_chain')} & sleep 0.5; {away}; taskset -c 1 sleep 1.5; wait")
    assert_waits_are_true_or_unknown(recorded)
    info = ask("info", path, "--json")
    assert {change["cpu"] for change in info["cpu_changes"]} == {1}
    assert info["cpu_changes"][-1]["what"] in ("online", "away")
    assert info["complete"] is False
    assert info["lost"]["by_cause"]["ring full"] == 0
    assert any(sentence.startswith("CPU 1 went offline") for sentence in info["verdict"])
    assert offwake("verify", path).returncode == 0  # its ring goes on where it was


def test_what_happens_on_a_cpu_that_comes_late_is_recorded(workload: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "late.offwake"
    SWITCH.write_text("0")
    recorded = recorded_under(path, f"echo 1 > {SWITCH}; taskset -c 1 {workload('pipe_chain')}")
    assert_waits_are_true_or_unknown(recorded)
    rows = {row["tid"]: row for row in recorded.table("threads")}
    for thread in recorded.threads:
        assert rows[thread.tid]["switches"] > 0, thread.name
    assert [change["what"] for change in ask("info", path, "--json")["cpu_changes"]] == ["online"]
    assert offwake("verify", path).returncode == 0
