"""Interpreters are found where the running one says that it is."""

import ctypes
import os
import sys
from contextlib import closing

from offwake.recorder.binaries.files import FileKeeper
from offwake.recorder.host.snapshot import mappings_of
from offwake.recorder.stacks.python import LAYOUTS, Pythons


def test_the_runtime_of_this_process_is_found() -> None:
    mappings = [
        ((start, end, at, os.getpid()), (path, identity)) for start, end, at, path, identity in mappings_of(os.getpid())
    ]
    with closing(FileKeeper()) as keeper:
        found = Pythons(keeper).find(mappings)
    if sys.version_info[1] not in LAYOUTS:
        assert found is None
        return
    assert found is not None
    runtime = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
    assert found.key_address == runtime + found.layout.key
    initialized, key = (ctypes.c_int * 2).from_address(found.key_address)
    assert initialized == 1 and 0 <= key < 1024


def test_a_process_without_an_interpreter_has_none() -> None:
    assert Pythons(FileKeeper()).find([((0, 4096, 0, 1), ("/usr/lib/libc.so.6", b"1:2:3"))]) is None
    assert Pythons(FileKeeper()).find([((0, 4096, 0, 1), ("/usr/bin/python3.11", b"1:2:3"))]) is None
    assert Pythons(FileKeeper()).find([]) is None
