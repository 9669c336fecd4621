"""The recorder's memory: its rings and little more, also where large programs ran."""

import sysconfig
from pathlib import Path

from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from tests.live.harness import ask, offwake

RINGS, BESIDE_RINGS = 64 << 20, 64 << 20
PYTHON = Path(sysconfig.get_path("scripts")) / "python"
COMPILES = "import numba; assert all(numba.njit(lambda x, n=n: x + n)(3) == 3 + n for n in range(10))"


def test_what_a_large_library_is_called_takes_little_memory(tmp_path: Path) -> None:
    """One of more than a hundred megabytes works for some seconds."""
    [library] = Path(sysconfig.get_path("platlib")).glob("llvmlite/binding/libllvmlite.so")
    assert library.stat().st_size > RINGS + BESIDE_RINGS
    path = tmp_path / "x.offwake"
    result = offwake("record", "--command-only", "-o", path, "--", PYTHON, "-c", COMPILES)
    assert result.returncode in (0, 3), result.stderr
    with TraceReader.open(path) as reader:
        blocks = [reader.values(block) or {} for block in reader.blocks if block.kind == Kind.SYMBOLS]
    assert [name for block in blocks for file, _, rows in block["files"] if file == str(library) for *_, name in rows]
    assert ask("info", path, "--json")["own_cost"]["peak_memory_bytes"] < RINGS + BESIDE_RINGS
