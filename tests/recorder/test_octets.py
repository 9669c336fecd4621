"""Files that anybody may have put where a program's was."""

import ctypes
import os
from pathlib import Path

import pytest

from offwake.recorder.binaries.octets import open_safely

IN_OPEN = 0x20
NONBLOCK = 0o4000


def test_the_file_that_was_mapped_is_opened_and_another_of_its_name_is_not(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(b"code")
    inode = path.stat().st_ino
    with open(path, "rb"):  # its inode is not given to another one
        opened = open_safely(str(path), f"8:1:{inode}".encode())
        assert opened and opened.read() == b"code"
        opened.close()
        path.unlink()
        path.write_bytes(b"other code")
        assert open_safely(str(path), f"8:1:{inode}".encode()) is None
        anything = open_safely(str(path), b"")
        assert anything and anything.read() == b"other code"
        anything.close()


def test_what_is_no_file_is_not_even_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    libc = ctypes.CDLL(None)
    notices = libc.inotify_init1(NONBLOCK)
    assert libc.inotify_add_watch(notices, os.fsencode(tmp_path / "fifo"), IN_OPEN) > 0
    assert open_safely(str(tmp_path / "link"), b"") is None
    with pytest.raises(BlockingIOError):
        os.read(notices, 4096)
    os.close(os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK))
    assert os.read(notices, 4096)
    os.close(notices)
