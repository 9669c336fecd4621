"""The kernel's names, beside all of /proc/kallsyms."""

import os
from contextlib import closing
from pathlib import Path
from random import Random

from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from offwake.format.writer import TraceWriter
from offwake.recorder.binaries.addresses import Addresses
from offwake.recorder.binaries.files import KALLSYMS, FileKeeper
from offwake.recorder.binaries.symbols import add_symbols


def kernel_names(path: Path, addresses: list[int]) -> list[tuple[int, int, str]]:
    """Return start, size and name of the functions that a recording of these addresses has."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    writer = TraceWriter(fd, bytes(16))
    writer.begin_segment({})
    with closing(FileKeeper()) as keeper:
        assert add_symbols(Addresses(kernel=addresses), writer, keeper)
    writer.finish({})
    os.close(fd)
    with TraceReader.open(path) as reader:
        blocks = [reader.values(block) or {} for block in reader.blocks if block.kind == Kind.SYMBOLS]
    return sorted((start, size, name) for block in blocks for start, size, name, _ in block["kernel"])


def test_each_address_has_the_last_function_that_begins_before_it(tmp_path: Path) -> None:
    names: dict[int, set[str]] = {}
    for line in Path(KALLSYMS).read_text().splitlines():
        address, kind, name, *_ = line.split()
        if kind in "tTwW":
            names.setdefault(int(address, 16), set()).add(name)
    [end] = [start for start, together in names.items() if "_etext" in together]
    starts = sorted(start for start in names if 0 < start <= end)  # what is loaded behind them comes and goes
    some = sorted(Random(3).sample(range(len(starts) - 1), 500))
    addresses = sorted({at for index in some for at in (starts[index], starts[index + 1] - 1)})
    expected = [(starts[index], starts[index + 1] - starts[index], min(names[starts[index]])) for index in some]
    assert kernel_names(tmp_path / "x", addresses) == expected


def test_without_addresses_there_are_no_names(tmp_path: Path) -> None:
    assert kernel_names(tmp_path / "x", []) == []
