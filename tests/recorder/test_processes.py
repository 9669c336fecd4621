"""The process table that opens every segment: what side-band records do to it."""

import os
from typing import Any

from offwake.format.records import Comm, Exit, Fork, Mmap2
from offwake.recorder.host.processes import ProcessTable


def mapping(pid: int, start: int, path: str, build_id: bytes = b"\x01") -> Mmap2:
    return Mmap2(pid, pid, 0, start, 0x1000, 0, 5, 0, path, build_id, 0, 0, 0)


def paths_of(table: ProcessTable, pid: int) -> list[str]:
    """Return the paths of a process's mappings, as a keyframe would hold them."""
    values: dict[str, Any] = table.as_values()
    return [values["files"][index][0] for tgid, *_, index in values["mappings"] if tgid == pid]


def cgroups_of(table: ProcessTable) -> dict[int, str]:
    return {pid: path for path, pids in table.as_values()["cgroups"] for pid in pids}


def names_of(table: ProcessTable) -> dict[int, str]:
    return {tid: comm for tid, _, comm, *_ in table.as_values()["threads"]}


def test_a_child_has_its_parents_name_and_mappings_until_it_runs_a_program() -> None:
    table = ProcessTable()
    table.apply(Fork(10, 1, 10, 1, 0))
    table.apply(Comm(10, 10, 0, "shell", exec=True))
    table.apply(mapping(10, 0x1000, "/bin/sh"))
    table.apply(Fork(11, 10, 11, 10, 0))
    assert names_of(table)[11] == "shell"
    assert paths_of(table, 11) == ["/bin/sh"]
    table.apply(Comm(11, 11, 0, "ls", exec=True))
    table.apply(mapping(11, 0x2000, "/bin/ls"))
    assert paths_of(table, 11) == ["/bin/ls"]
    assert paths_of(table, 10) == ["/bin/sh"]


def test_an_exec_by_another_thread_leaves_that_one_with_the_process_id() -> None:
    table = ProcessTable()
    table.apply(Fork(10, 1, 10, 1, 0))
    table.apply(Fork(10, 10, 12, 10, 0))
    table.apply(Fork(10, 10, 13, 10, 0))
    table.apply(Exit(10, 1, 13, 1, 0))
    table.apply(Exit(10, 1, 10, 1, 0))  # the first thread; 12, which called it, takes its id
    table.apply(Comm(10, 10, 0, "program", exec=True))
    table.apply(mapping(10, 0x1000, "/bin/program"))
    assert names_of(table) == {10: "program"}
    table.apply(Exit(10, 1, 10, 1, 0))
    assert names_of(table) == {} and paths_of(table, 10) == []


def test_a_new_thread_shares_its_process() -> None:
    table = ProcessTable()
    table.apply(Fork(10, 1, 10, 1, 0))
    table.apply(mapping(10, 0x1000, "/bin/server"))
    table.apply(Fork(10, 10, 12, 10, 0))
    table.apply(Comm(10, 12, 0, "worker", exec=False))
    assert names_of(table) == {10: "", 12: "worker"}
    assert paths_of(table, 12) == []
    assert paths_of(table, 10) == ["/bin/server"]


def test_a_process_is_forgotten_with_its_last_thread() -> None:
    table = ProcessTable()
    table.apply(Fork(10, 1, 10, 1, 0))
    table.apply(mapping(10, 0x1000, "/bin/server"))
    table.apply(Fork(10, 10, 12, 10, 0))
    table.apply(Exit(10, 1, 10, 1, 0))  # the first thread may go first
    assert paths_of(table, 10) == ["/bin/server"]
    table.apply(Exit(10, 10, 12, 10, 0))
    assert paths_of(table, 10) == []
    assert names_of(table) == {}


def test_a_child_is_in_its_parents_cgroup() -> None:
    table = ProcessTable()
    table.scan()
    me = os.getpid()
    own, born = cgroups_of(table)[me], 1 << 22  # no process has this id
    table.apply(Fork(born, me, born, me, 0))
    table.apply(Fork(born, born, born + 1, born, 0))  # its second thread
    assert cgroups_of(table)[born] == own
    assert born + 1 not in cgroups_of(table)
    for tid in (born, born + 1):
        table.apply(Exit(born, me, tid, me, 0))
    assert born not in cgroups_of(table)


def test_a_replaced_file_is_another_file() -> None:
    table = ProcessTable()
    table.apply(mapping(10, 0x1000, "/bin/server", b"\x01"))
    table.apply(mapping(10, 0x9000, "/bin/server", b"\x02"))
    assert [bytes(identity) for _, identity in table.as_values()["files"]] == [b"\x01", b"\x02"]


def test_the_walk_through_proc_finds_this_process_and_what_it_maps() -> None:
    table = ProcessTable()
    table.scan()
    assert os.getpid() in names_of(table)
    assert any("libc.so.6" in path for path in paths_of(table, os.getpid()))


def test_files_that_nobody_has_mapped_any_more_are_forgotten() -> None:
    table = ProcessTable()
    table.apply(Fork(10, 1, 10, 1, 0))
    table.apply(mapping(10, 0x1000, "/bin/stays"))
    for pid in range(100, 200):
        table.apply(Fork(pid, 1, pid, 1, 0))
        table.apply(mapping(pid, 0x1000, f"/tmp/program-{pid}"))
        table.apply(Exit(pid, 1, pid, 1, 0))
    table.age()
    assert paths_of(table, 10) == ["/bin/stays"]
    assert [path for path, _ in table.as_values()["files"]] == ["/bin/stays"]
    table.apply(mapping(10, 0x2000, "/bin/comes"))
    assert paths_of(table, 10) == ["/bin/stays", "/bin/comes"]


def test_a_process_that_maps_for_ever_is_looked_at_again() -> None:
    table, pid = ProcessTable(), os.getpid()
    for number in range(10_000):
        table.apply(mapping(pid, number << 12, "//anon"))
    assert len(table.executable(pid)) < 5_000
