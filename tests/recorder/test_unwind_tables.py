"""Unwind tables, beside what readelf says of the C and C++ libraries, of all their functions; and of damaged files."""

import random
import re
import struct
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from offwake.format.stacks import NO_TABLE, ROW, SIGNAL, Cfa, Rule
from offwake.recorder.binaries.cfi import Common, Entry, states
from offwake.recorder.binaries.elf import ElfError, ElfImage
from offwake.recorder.binaries.functions import functions_at
from offwake.recorder.binaries.octets import FileOctets, Octets
from offwake.recorder.binaries.unwind_tables import entries_of, row_at
from offwake.recorder.binaries.unwind_tables import unwind_rows as rows_of

Row = tuple[int, ...]

LIBRARIES = ("libc.so.6", "libstdc++.so.6", "ld-linux-x86-64.so.2")
LOCATION = re.compile(r"[0-9a-f]{16} ")
REGISTERS = {"rsp": Cfa.SP, "rbp": Cfa.FP, "rbx": Cfa.BX}


def image_of(data: bytes) -> ElfImage:
    return ElfImage(Octets(data))


def unwind_rows(image: ElfImage, addresses: list[int]) -> bytes:
    return rows_of(image, entries_of(image, addresses))


@cache
def library(name: str) -> Path:
    """Where the program loader finds a library."""
    listed = subprocess.run(["/sbin/ldconfig", "-p"], check=True, capture_output=True, text=True).stdout
    lines = (line for line in listed.splitlines() if line.split()[:1] == [name] and "x86-64" in line)
    return Path(next(lines).split(" => ")[1])


@cache
def rows(name: str) -> list[Row]:
    """Every row of a library."""
    image = image_of(library(name).read_bytes())
    return list(ROW.iter_unpack(unwind_rows(image, everywhere(name))))


def everywhere(name: str) -> list[int]:
    """Every address of a library from which something else holds."""
    return sorted(address for address, _, _ in readelf(name))


@cache
def readelf(name: str) -> list[tuple[int, str, dict[str, str]]]:
    """Lines of `readelf --debug-dump=frames-interp`: address, CFA, and the rules of the registers that have a column."""
    command: list[str | Path] = ["readelf", "--debug-dump=frames-interp", library(name)]
    return list(_lines(subprocess.run(command, capture_output=True, text=True).stdout))  # it warns of libc, and fails


def _lines(text: str) -> Iterator[tuple[int, str, dict[str, str]]]:
    columns: list[str] = []
    is_function = False
    for line in text.splitlines():
        if " CIE " in line or " FDE " in line:
            is_function = " FDE " in line
        elif line.split()[:1] == ["LOC"]:
            columns = line.split()[2:]
        elif is_function and LOCATION.match(line):
            address, cfa, *values = line.split()
            if len(values) == len(columns):  # else a rule is written with a space
                yield int(address, 16), cfa, dict(zip(columns, values, strict=True))


@pytest.mark.parametrize("name", LIBRARIES)
def test_every_row_says_what_readelf_says(name: str) -> None:
    image = image_of(library(name).read_bytes())
    mine = rows(name)
    compared = 0
    for address, cfa, rules in readelf(name):
        offset = image.file_offset(address)
        assert offset is not None
        row = next_below(mine, offset)
        match = re.fullmatch(r"(rsp|rbp|rbx)([+-]\d+)", cfa)
        if match:
            assert (row[1] & ~SIGNAL, row[5]) == (REGISTERS[match[1]], int(match[2])), hex(address)
        for register, rule, at in (("ra", 2, 6), ("rbp", 3, 7), ("rbx", 4, 8)):
            saved = re.fullmatch(r"c([+-]\d+)", rules.get(register, "u"))
            if saved:
                assert (row[rule], row[at]) == (Rule.AT_CFA, int(saved[1])), hex(address)
            elif register in rules and rules[register] == "u" and register == "ra":
                assert row[rule] == Rule.UNDEFINED
        compared += 1
    assert compared > 1000


def next_below(table: list[Row], offset: int) -> Row:
    low, high = 0, len(table)
    while low < high:
        middle = (low + high) // 2
        if table[middle][0] <= offset:
            low = middle + 1
        else:
            high = middle
    return table[low - 1]


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_single_row_is_that_of_the_table(name: str) -> None:
    with library(name).open("rb") as file:
        image = ElfImage(FileOctets(file))
        for address in everywhere(name)[::97]:
            offset = image.file_offset(address)
            assert offset is not None
            assert row_at(image, offset) == next_below(rows(name), offset)[1:]
        assert row_at(image, 0) == row_at(image, 1 << 40) == NO_TABLE


def test_the_return_from_a_signal_is_found_by_the_kernels_record() -> None:
    signals = [row for row in rows("libc.so.6") if row[1] & SIGNAL]
    assert {(row[1] & ~SIGNAL, row[5]) for row in signals} == {(Cfa.AT_SP, 160)}
    assert {(row[2], row[6], row[3], row[7]) for row in signals} == {(Rule.AT_SP, 168, Rule.AT_SP, 120)}


def test_threads_and_programs_begin_where_nobody_called() -> None:
    outermost = {row[0] for row in rows("libc.so.6") if row[2] == Rule.UNDEFINED}
    image = image_of(library("libc.so.6").read_bytes())
    functions = functions_at(image, sorted(image.address(offset) or 0 for offset in outermost))
    assert {f.name for f in functions if f} & {"clone", "__clone", "clone3", "__clone3"}


def test_only_the_functions_that_are_asked_for_have_rows() -> None:
    image = image_of(library("libc.so.6").read_bytes())
    read = next(f for f in functions_at(image, everywhere("libc.so.6")) if f and f.name in ("read", "__read"))
    table = list(ROW.iter_unpack(unwind_rows(image, [read.address + 4])))
    begin, end = image.file_offset(read.address), image.file_offset(read.address + read.size - 1)
    assert begin is not None and end is not None
    assert table[0][0] == begin and table[-1][1] == Cfa.NONE
    assert all(begin <= row[0] <= end + 16 for row in table)
    assert next_below(rows("libc.so.6"), begin)[1:] == table[0][1:]
    assert unwind_rows(image, []) == b""


def test_a_file_without_a_search_table_is_read_through() -> None:
    """.eh_frame_hdr renamed: the same rows are found the long way."""
    data = library("ld-linux-x86-64.so.2").read_bytes()
    image, hidden = image_of(data), image_of(data.replace(b".eh_frame_hdr\0", b".eh_frame_hid\0"))
    addresses = everywhere("ld-linux-x86-64.so.2")
    assert hidden.section(".eh_frame_hdr") is None
    assert unwind_rows(hidden, addresses) == unwind_rows(image, addresses) != b""


def test_debug_frame_serves_code_that_eh_frame_leaves_out(tmp_path: Path) -> None:
    source, program = tmp_path / "plain.c", tmp_path / "plain.o"
    source.write_text("int g(int); int f(int x) { return g(x) + 1; }")
    flags = ["-c", "-O2", "-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]
    library_of = ["-shared", "-nostdlib", "-fPIC"]
    subprocess.run(["gcc", *flags[1:], *library_of, "-o", program, source], check=True)
    image = image_of(program.read_bytes())
    f = int(subprocess.check_output(["nm", program], text=True).partition(" T f\n")[0].split()[-1], 16)
    assert row_at(image, image.file_offset(f) or 0) == NO_TABLE
    table = list(ROW.iter_unpack(unwind_rows(image, [f])))
    assert table[0][:3] == (image.file_offset(f), Cfa.SP, Rule.AT_CFA)
    assert (table[0][5], table[0][6]) == (8, -8)


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_file_gives_rows_or_none_but_no_error(seed: int) -> None:
    whole = library("ld-linux-x86-64.so.2").read_bytes()
    image = image_of(whole)
    addresses = everywhere("ld-linux-x86-64.so.2")
    chance = random.Random(seed)
    section = image.section(".eh_frame")
    assert section is not None
    offset = image.file_offset(section[0])
    assert offset is not None
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 3, 40])):
            data[offset + chance.randrange(section[1].size)] = chance.randrange(256)
        table = unwind_rows(image_of(bytes(data)), addresses)
        assert len(table) % ROW.size == 0
    for length in sorted(chance.sample(range(64, len(whole)), 5)):
        try:
            unwind_rows(image_of(whole[:length]), addresses)
        except ElfError:
            continue


def test_a_row_is_twenty_four_bytes() -> None:
    assert ROW.size == struct.calcsize("<IBBBBiiii") == 24


def entry_of(program: bytes) -> Entry:
    common = Common(code_factor=1, data_factor=-8, encoding=0x1B, is_signal=False, has_augmentation=True, program=b"")
    return Entry(0x1000, 0x2000, common, program)


@pytest.mark.parametrize(
    "program",
    [
        b"\x0e" + b"\x80" * 2_000_000,  # a number without end
        b"\x0a" * 1_000_000,  # remembers for ever
        b"\x0b",  # restores what was not remembered
        b"\x01",  # ends in the middle
        b"\x3f",  # no instruction
        b"\x0f\xff\xff\xff\x7f",  # an expression longer than everything
    ],
)
def test_a_program_that_means_harm_is_an_error(program: bytes) -> None:
    with pytest.raises(ElfError):
        list(states(entry_of(program)))


def test_of_one_function_and_of_one_file_only_so_much_is_run() -> None:
    """Each of these advances by one and says something else, as long as it goes on."""
    program = b"".join(b"\x41\x0e" + bytes([8 + 8 * (step % 2)]) for step in range(100_000))
    entry = Entry(0x1000, 0x1000 + (1 << 20), entry_of(b"").common, program)
    assert len(list(states(entry))) <= 1 << 14
    image = image_of(library("libc.so.6").read_bytes())
    entries = [Entry(begin, begin + 100, entry.common, program) for begin in range(0x30000, 0x130000, 100)]
    assert len(rows_of(image, entries)) <= (1 << 18) * ROW.size + 200 * ROW.size
