"""PostgreSQL with and without `synchronous_commit`: the comparison's first line is the truth."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.postgres import postgresql
from tests.live.harness import OFFWAKE, ask, offwake

SECONDS = 8
POSTGRES = ("--comm", "postgres")  # and not its clients, who wait for it


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Record pgbench twice, as many transactions a second, on a disk where fsync is real.

    They update rows of accounts alone, and each client has a thread: who commits slowly holds up nobody else. Two that
    commit so often wait for the log more than the one percent that a difference has to be, also where a disk takes 40 µs.
    """
    folder = tmp_path_factory.mktemp("compare")
    found = {}
    with postgresql("/var/tmp") as pgbench:
        load = f"{pgbench} --builtin simple-update --client 2 --jobs 2 --rate 2000 --no-vacuum --time {SECONDS} postgres"
        for commit in ("off", "on"):
            found[commit] = folder / f"{commit}.offwake"
            command = f"PGOPTIONS='-c synchronous_commit={commit}' {OFFWAKE} record -o {found[commit]} -- {load}"
            done = subprocess.run(command, shell=True, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return found


@pytest.mark.parametrize("view", ["off-wake", "chain"])
def test_the_first_line_is_the_truth(recordings: dict[str, Path], view: str) -> None:
    """To commit is to wait for the log on the disk: for one's own fdatasync, or in XLogFlush for that of another backend."""
    before, after = recordings["off"], recordings["on"]
    worse = [
        row for row in ask("diff", before, after, *POSTGRES, "--view", view, "--json")["changes"] if row["delta_ns"] > 0
    ]
    assert worse[0]["significant"]
    assert worse[0]["words"].startswith("postgres waited")
    assert "fdatasync" in worse[0]["words"] or "XLogFlush" in worse[0]["words"]
    assert worse[0]["before_ns"] < worse[0]["after_ns"] / 10
    lines = offwake("diff", before, after, *POSTGRES, "--view", view).stdout.splitlines()
    assert lines[lines.index("What there is more of") + 1].strip() == worse[0]["words"]
