"""msgpack values: what goes in comes out, and hostile bytes are refused within bounds."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offwake.format.values import pack, unpack

KERNEL_TEXT = st.binary(max_size=20).map(lambda raw: raw.decode(errors="surrogateescape"))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    KERNEL_TEXT,
    st.binary(),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KERNEL_TEXT | st.integers(0, 2**32), inner), max_leaves=20
)


@given(VALUES)
def test_a_value_comes_back(value: Any) -> None:
    assert unpack(pack(value)) == value


@given(VALUES)
def test_a_truncated_value_is_refused(value: Any) -> None:
    packed = pack(value)
    for length in range(len(packed)):
        with pytest.raises(ValueError):
            unpack(packed[:length])


@given(VALUES, st.binary(min_size=1))
def test_bytes_after_the_value_are_refused(value: Any, extra: bytes) -> None:
    with pytest.raises(ValueError):
        unpack(pack(value) + extra)


@given(st.binary())
def test_any_bytes_give_a_value_or_a_value_error(data: bytes) -> None:
    try:
        unpack(data)
    except ValueError:
        pass


MILLION = (1 << 20).to_bytes(4, "big")
BOMBS = {
    "a giant array": b"\xdd\xff\xff\xff\xff",
    "a giant map": b"\xdf\xff\xff\xff\xff",
    "a giant string": b"\xdb\xff\xff\xff\xff",
    "giant bytes": b"\xc6\xff\xff\xff\xff",
    "a giant extension": b"\xc9\xff\xff\xff\xff\x01",
    "a timestamp": b"\xd6\xff\0\0\0\0",
    "a list as a key": b"\x81\x90\x01",
    "a map as a key": b"\x81\x80\x01",
    "deep lists": b"\x91" * 100_000 + b"\0",
    "deep maps": b"\x81\0" * 100_000 + b"\0",
    "deep lists of a million": (b"\xdd" + MILLION) * 2000 + bytes(1 << 20),
    "deep maps of a million": (b"\xdf" + MILLION + b"\0") * 2000 + bytes(1 << 20),
    "millions of lists": (b"\xdc\0\x10" + b"\xdd" + MILLION + b"\x90" * (1 << 20)) * 15,
    "millions of maps": (b"\xdc\0\x10" + b"\xdd" + MILLION + b"\x80" * (1 << 20)) * 15,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        unpack(BOMBS[name])


def test_the_most_expensive_value_stays_within_512_mib() -> None:
    """Strings of one byte that is not UTF-8, which take 44 times their bytes; and all bombs, one after the other."""
    script = """
from pathlib import Path
from offwake.format.layout import MAX_VALUE_PAYLOAD
from offwake.format.values import unpack
from tests.format.test_values import BOMBS, MILLION
strings = b"\\xdd" + MILLION + b"\\xa1\\xff" * (1 << 20)
most = b"\\x95" + strings * 3 + b"\\xdd" + (950_000).to_bytes(4, "big") + b"\\x90" * 950_000 + b"\\x90"
assert MAX_VALUE_PAYLOAD * 0.8 < len(most) < MAX_VALUE_PAYLOAD
assert len(unpack(most)) == 5
for bomb in BOMBS.values():
    try:
        unpack(bomb)
    except ValueError:
        pass
[most_kib] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
print(most_kib)  # not ru_maxrss, which a process takes over from the one that started it
"""
    limits = (10, 10)  # seconds of CPU
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, limits),
    )
    assert int(done.stdout) < 512 << 10
