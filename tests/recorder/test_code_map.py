"""Maps of code: every address of code is in them, and the kernel has them as long as they are true."""

import random

from offwake.format.records import Comm, Exit, Fork, Mmap2
from offwake.recorder.binaries.files import FileKeeper
from offwake.recorder.host.processes import ProcessTable
from offwake.recorder.stacks.code_map import (
    CODE_ANYWHERE,
    CODE_WORDS,
    GRANULES,
    SETTLED_NS,
    Code,
    CodeMaps,
    code_map,
)
from offwake.recorder.stacks.python import Interpreter

SECOND = 1_000_000_000


def holds(code: list[int], address: int) -> bool:
    """What may_be_code in user_stack.bpf.c computes."""
    granule, region = address >> 16, (address >> 28) % 512
    regions = code[GRANULES // 64 :]
    return bool(regions[region >> 6] >> (region & 63) & code[granule >> 6 & 63] >> (granule & 63) & 1)


def test_every_address_of_code_is_in_the_map() -> None:
    chance = random.Random(1)
    for _ in range(200):
        start = chance.randrange(1 << 12, 1 << 47, 4096)
        end = min(start + chance.choice([4096, 1 << 16, 3 << 20, 200 << 20]), 1 << 47)
        code = code_map([(start, end), (0x400000, 0x401000)])
        assert len(code) == CODE_WORDS and max(code) < 1 << 64
        for address in (start, end - 1, (start + end) // 2, 0x400123):
            assert holds(code, address)


def test_other_addresses_are_seldom_in_the_map() -> None:
    chance = random.Random(2)
    code = code_map([(0x55D0D9F70000, 0x55D0DA800000), (0x7F5872800000, 0x7F5873000000)])
    heap = [chance.randrange(0x55D0E7000000, 0x55D0E9000000) for _ in range(1000)]
    small = range(0, 1 << 24, 4099)
    assert not any(holds(code, address) for address in (*heap, *small))
    anywhere = [chance.randrange(1 << 47) for _ in range(10_000)]
    assert sum(holds(code, address) for address in anywhere) < 50


def test_more_code_than_the_map_can_tell_apart_is_code_anywhere() -> None:
    assert code_map([(0x10000000, 0x30000000)]) == CODE_ANYWHERE
    assert code_map([(0xFFFFFFFFFF600000, 0xFFFFFFFFFF601000)]) == [0] * CODE_WORDS


class Kernel:
    """What the kernel was told."""

    user_stack_bytes = 1 << 16

    def __init__(self) -> None:
        self.code: dict[int, list[int]] = {}
        self.pythons: dict[int, Interpreter] = {}

    def set_code(self, tgid: int, code: Code | None) -> None:
        if code:
            self.code[tgid] = code.words
        else:
            self.code.pop(tgid, None)

    def set_python(self, tgid: int, interpreter: Interpreter | None) -> None:
        if interpreter:
            self.pythons[tgid] = interpreter
        else:
            self.pythons.pop(tgid, None)


def mapped(tgid: int, start: int) -> Mmap2:
    return Mmap2(tgid, tgid, 0, start, 4096, 0, 5, 2, "/lib/x.so", b"", 1, 2, 3)


def test_a_process_is_told_of_when_it_has_settled_and_unknown_again_when_it_maps_more() -> None:
    kernel, table = Kernel(), ProcessTable()
    maps = CodeMaps(kernel, table, FileKeeper())
    table.apply(mapped(7, 0x400000))
    maps.follow(SECOND)
    maps.follow(SECOND + SETTLED_NS - 1)
    assert kernel.code == {}
    maps.follow(SECOND + SETTLED_NS)
    assert holds(kernel.code[7], 0x400000)
    table.apply(mapped(7, 0x7F0000000000))
    maps.follow(2 * SECOND)
    assert kernel.code == {}
    maps.follow(3 * SECOND)
    assert holds(kernel.code[7], 0x7F0000000000) and holds(kernel.code[7], 0x400000)


def test_children_and_programs_are_told_of_as_they_are() -> None:
    kernel, table = Kernel(), ProcessTable()
    maps = CodeMaps(kernel, table, FileKeeper())
    table.apply(mapped(7, 0x400000))
    table.apply(Fork(8, 7, 8, 7, 0))
    maps.tell(table.take_changed())
    assert kernel.code[8] == kernel.code[7]
    table.apply(Comm(8, 8, 0, "other", True))
    maps.follow(SECOND)
    assert sorted(kernel.code) == [7]
    table.apply(mapped(8, 0x500000))
    table.apply(Exit(7, 1, 7, 1, 0))
    maps.follow(2 * SECOND)
    maps.follow(3 * SECOND)
    assert sorted(kernel.code) == [8] and not holds(kernel.code[8], 0x400000)
