"""Processes in PID namespaces of their own: their ids there are beside the host's, and their perf maps are found."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.live.harness import OFFWAKE, ask, offwake, wait_until

IN_A_NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc"]


def test_processes_have_the_ids_that_they_see_themselves(tmp_path: Path) -> None:
    path = tmp_path / "x.offwake"
    inner = """sh -c 'echo $$; exec sleep 0.3'; sh -c 'echo $$; exec sleep 0.4'; true"""
    result = offwake("record", "-o", path, "--", *IN_A_NAMESPACE, "sh", "-c", inner)
    assert result.returncode == 0, result.stderr
    rows = ask("table", path, "--json")
    inside = {row["ns_pid"] for row in rows if row["comm"] == "sleep"}
    assert inside >= {*map(int, result.stdout.split())}
    assert None in {row["ns_pid"] for row in rows if row["comm"] == "unshare"}
    assert {row["ns_pid"] for row in rows if row["pid"] == os.getpid()} == {None}


def test_a_perf_map_is_read_where_the_container_wrote_it(workload: Callable[[str], Path], tmp_path: Path) -> None:
    """It lies in the container's own /tmp, under the id that the process has there."""
    path, part = tmp_path / "x.offwake", tmp_path / "x.offwake.part"
    script = f"mount -t tmpfs none /mnt && cp {workload('jit')} /mnt && mount -t tmpfs none /tmp && exec /mnt/jit written"
    with subprocess.Popen([OFFWAKE, "record", "-o", path], stderr=subprocess.PIPE, text=True) as recorder:
        try:
            wait_until(lambda: part.exists() and part.stat().st_size > 0, "the recorder writes its first block")
            with subprocess.Popen([*IN_A_NAMESPACE, "--kill-child", "sh", "-c", script], stderr=subprocess.PIPE) as jit:
                try:
                    assert jit.stderr is not None
                    assert jit.stderr.readline() == b"written\n"
                    recorder.send_signal(signal.SIGINT)
                    said = recorder.communicate(timeout=60)[1]
                finally:
                    jit.kill()
        finally:
            recorder.kill()
    assert recorder.returncode == 0, said
    (row,) = (row for row in ask("table", path, "--json") if row["comm"] == "jit")
    assert row["ns_pid"] == 1
    stacks = ask("folded", path, "--all", "--pid", str(row["pid"]), "--json")["stacks"]
    assert any("written::at run time" in stack["frames"] for stack in stacks)
