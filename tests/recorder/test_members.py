"""Who is a member of a recording that is narrowed to cgroups, as processes move in and out."""

import os
from pathlib import Path

import pytest

from offwake.recorder.members import Members, Narrowing


class Kernel:
    """The ranks of threads, as the programs have them."""

    def __init__(self) -> None:
        self.ranks: dict[int, int] = {}

    def set_member(self, tid: int, rank: int | None) -> None:
        if rank is None:
            self.ranks.pop(tid, None)
        else:
            self.ranks[tid] = rank


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    """A folder like a cgroup's, with two threads in it."""
    (tmp_path / "cgroup.procs").touch()
    (tmp_path / "cgroup.threads").write_text("10\n11\n")
    return tmp_path


def test_whoever_moves_in_is_a_member_until_it_moves_out(cgroup: Path) -> None:
    kernel = Kernel()
    members = Members(Narrowing(cgroups=(str(cgroup),)), kernel)
    members.begin(None)
    assert kernel.ranks.keys() == {10, 11}
    (cgroup / "cgroup.threads").write_text("11\n12\n")
    members.follow()
    assert kernel.ranks.keys() == {11, 12}


def test_a_child_that_is_moved_out_before_anybody_looks_is_none(cgroup: Path) -> None:
    kernel = Kernel()
    members = Members(Narrowing(cgroups=(str(cgroup),)), kernel)
    members.begin(None)
    for child in (20, 21):  # as the programs do when a member forks
        kernel.set_member(child, 0)
    (cgroup / "cgroup.threads").write_text("10\n11\n21\n")
    members.follow({20, 21})
    assert kernel.ranks.keys() == {10, 11, 21}


def test_a_process_that_was_asked_for_stays_a_member_wherever_it_goes(cgroup: Path) -> None:
    kernel, me = Kernel(), os.getpid()
    members = Members(Narrowing(pids=(me,), cgroups=(str(cgroup),)), kernel)
    (cgroup / "cgroup.threads").write_text(f"10\n{me}\n")
    members.begin(None)
    kernel.set_member(20, 0)
    (cgroup / "cgroup.threads").write_text("")
    members.follow({20})
    assert me in kernel.ranks and 10 not in kernel.ranks
    assert 20 in kernel.ranks, "it may be a child of the process"
