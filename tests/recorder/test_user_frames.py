"""What the kernel is told of return addresses: by the tables of the files that are mapped there, once for all of them."""

import os
from contextlib import closing
from random import Random

import pytest

from offwake.format.records import Exit, Fork, Mmap2
from offwake.format.stacks import NO_TABLE, SIGNAL, Cfa, Rule
from offwake.recorder.binaries.files import FileKeeper
from offwake.recorder.host.processes import ProcessTable
from offwake.recorder.host.snapshot import mappings_of
from offwake.recorder.stacks.frame_rules import BUCKET, WAYS, FrameRules
from offwake.recorder.stacks.user_frames import (
    BY_FP,
    BY_SP,
    INTERRUPTED,
    NO_WAY,
    OUTERMOST,
    UserFrames,
    rule_of_row,
)

LIBC = "/libc.so.6"


class Kernel:
    """What the programs were told."""

    def __init__(self) -> None:
        self.rules: dict[int, int] = {}

    def set_user_frame(self, key: int, rule: int) -> None:
        self.rules[key] = rule
        if not rule:
            del self.rules[key]


def with_own_mappings() -> tuple[ProcessTable, int]:
    """Return a table in which process 7 maps what this one does, and where its C library's code begins."""
    table, libc = ProcessTable(), 0
    for start, end, at, path, identity in mappings_of(os.getpid()):
        table.apply(Mmap2(7, 7, 0, start, end - start, at, 5, 2, path, identity, 1, 2, 3))
        libc = start if path.endswith(LIBC) else libc
    return table, libc


def test_an_address_is_told_of_once_for_all_with_the_same_mappings() -> None:
    kernel = Kernel()
    table, libc = with_own_mappings()
    table.apply(Fork(8, 7, 8, 7, 0))
    with closing(FileKeeper()) as keeper:
        frames = UserFrames(kernel, table, keeper)
        assert frames.enter(7) == frames.enter(8) == 1
        for tgid in (7, 8):
            frames.ask(tgid, libc + 0x1001)
            frames.ask(tgid, libc + 0x1000 | INTERRUPTED)
        while frames.answer():
            pass
    assert len(kernel.rules) == 2 and len(set(kernel.rules.values())) == 1
    frames.leave(7)
    assert kernel.rules
    frames.leave(8)
    assert not kernel.rules


def test_where_nothing_or_no_file_is_mapped_the_stack_is_looked_through() -> None:
    kernel, table = Kernel(), ProcessTable()
    table.apply(Mmap2(7, 7, 0, 0x400000, 4096, 0, 5, 2, "//anon", b"", 1, 2, 3))
    frames = UserFrames(kernel, table, FileKeeper())
    frames.enter(7)
    for address in (0x400010, 0x500000):
        frames.ask(7, address)
    frames.ask(99, 0x400010)
    while frames.answer():
        pass
    assert list(kernel.rules.values()) == [NO_WAY, NO_WAY]


def test_a_space_is_free_again_when_its_processes_are_gone() -> None:
    table = ProcessTable()
    frames = UserFrames(Kernel(), table, FileKeeper())
    numbers = []
    for tgid in range(1, 70_000):
        table.apply(Mmap2(tgid, tgid, 0, 4096 * tgid, 4096, 0, 5, 2, "/bin/x", b"", 1, 2, 3))
        numbers.append(frames.enter(tgid))
        table.apply(Exit(tgid, 1, tgid, 1, 0))
        frames.leave(tgid)
    assert 0 not in numbers and max(numbers) < 1 << 16


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (NO_TABLE, NO_WAY),
        ((Cfa.SP, Rule.AT_CFA, Rule.SAME, Rule.SAME, 32, -8, 0, 0), BY_SP | 32 << 32),
        ((Cfa.SP, Rule.AT_CFA, Rule.AT_CFA, Rule.SAME, 32, -8, -16, 0), BY_SP | 2 << 8 | 32 << 32),
        ((Cfa.FP, Rule.AT_CFA, Rule.AT_CFA, Rule.AT_CFA, 16, -8, -16, -24), BY_FP | 2 << 8 | 16 << 32),
        ((Cfa.SP, Rule.UNDEFINED, Rule.SAME, Rule.SAME, 8, 0, 0, 0), OUTERMOST),
        ((Cfa.SP | SIGNAL, Rule.AT_CFA, Rule.SAME, Rule.SAME, 8, -8, 0, 0), NO_WAY),
        ((Cfa.PLT, Rule.AT_CFA, Rule.SAME, Rule.SAME, 11, -8, 0, 0), NO_WAY),
        ((Cfa.AT_FP, Rule.AT_CFA, Rule.SAME, Rule.SAME, -8, -8, 0, 0), NO_WAY),
        ((Cfa.SP, Rule.IN_DI, Rule.SAME, Rule.SAME, 8, 0, 0, 0), NO_WAY),
        ((Cfa.SP, Rule.AT_CFA, Rule.OTHER, Rule.SAME, 8, -8, 0, 0), NO_WAY),
        ((Cfa.SP, Rule.AT_CFA, Rule.SAME, Rule.SAME, 1 << 30, -8, 0, 0), NO_WAY),
        ((Cfa.SP, Rule.AT_CFA, Rule.SAME, Rule.SAME, 12, -8, 0, 0), NO_WAY),
    ],
)
def test_a_row_is_followed_if_it_is_simple(row: tuple[int, ...], rule: int) -> None:
    assert rule_of_row(row) == rule


def test_what_finds_no_place_in_the_table_is_not_known_and_nothing_else() -> None:
    chance, rules = Random(1), FrameRules()
    table: dict[int, tuple[int, ...]] = {}
    told: dict[int, int] = {}
    for _ in range(200_000):
        key, rule = chance.randrange(20_000) << 20, chance.choice([0, 1, 2, 3])
        bucket, octets = rules.put(key, rule)
        table[bucket] = BUCKET.unpack(octets)
        told[key] = rule
    known: dict[int, int] = {}
    for words in table.values():
        known |= {key: rule for key, rule in zip(words[:WAYS], words[WAYS:], strict=True) if rule}
    assert all(told[key] == rule for key, rule in known.items())
    assert len(known) > 0.9 * sum(rule > 0 for rule in told.values())
