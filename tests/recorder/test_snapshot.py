"""What /proc says of processes whose names are made to be misread."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

from offwake.recorder.host.namespaces import ns_pid
from offwake.recorder.host.snapshot import lines_of, mappings_of

NAMED = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, b"a\\rNSpid: z", 0, 0, 0)  # PR_SET_NAME
print(flush=True)
sys.stdin.read()
"""


def test_a_mapped_file_may_be_called_anything() -> None:
    name = "a\rb\x0c\x1c \x85\u2028c"
    fd = os.memfd_create(name)
    os.truncate(fd, mmap.PAGESIZE)
    with mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC):
        paths = [path for *_, path, _ in mappings_of(os.getpid())]
    os.close(fd)
    assert f"/memfd:{name} (deleted)" in paths


def test_a_name_in_a_pid_namespace_may_look_like_its_id() -> None:
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", NAMED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as outside:
        assert outside.stdin and outside.stdout
        outside.stdout.readline()
        child = int(Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text())
        found = ns_pid(child)
        outside.stdin.close()
    assert found == 1


def test_a_file_without_lines_has_none() -> None:
    assert lines_of("/proc/2/comm") == ["kthreadd"]
    assert lines_of("/proc/2/maps") == [] == list(mappings_of(2))
