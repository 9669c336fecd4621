"""Function symbols of real ELF files, held against binutils."""

import lzma
import os
import random
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import pytest

from offwake.recorder.binaries.elf import DEBUG_FILES, SECTION, SHT_SYMTAB, ElfError, ElfImage
from offwake.recorder.binaries.functions import Function, functions_at
from offwake.recorder.binaries.octets import FileOctets, Octets

PROGRAM = """
static int __attribute__((noinline)) inner(int x) { return x * 3; }
int outer(int x) { return inner(x) + 1; }
int alias(int x) __attribute__((alias("outer")));
int main(int argc, char **argv) { (void)argv; return outer(argc) == 4 ? 0 : alias(argc); }
"""

LARGE = ("/usr/lib/x86_64-linux-gnu", sysconfig.get_path("platlib"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elf")
    (folder / "program.c").write_text(PROGRAM)
    path = folder / "program"
    subprocess.run(["gcc", "-O1", "-Wl,--build-id", "-o", path, folder / "program.c"], check=True)
    return path


def functions_of_nm(path: Path, *options: str) -> dict[int, set[str]]:
    """Return the names of text symbols by address, as `nm` lists them."""
    found: dict[int, set[str]] = {}
    for line in subprocess.check_output(["nm", "--defined-only", *options, path], text=True).splitlines():
        address, kind, name = line.split()
        if kind in "tTwW":
            found.setdefault(int(address, 16), set()).add(name.partition("@")[0])
    return found


def image_of(data: bytes) -> ElfImage:
    return ElfImage(Octets(data))


def functions_of(image: ElfImage, addresses: Iterable[int]) -> dict[int, Function]:
    """Return the functions that addresses lie in, by these addresses."""
    ordered = sorted(addresses)
    return {at: found for at, found in zip(ordered, functions_at(image, ordered), strict=True) if found}


def test_functions_are_those_of_nm(program: Path) -> None:
    theirs = functions_of_nm(program)
    ours = functions_of(image_of(program.read_bytes()), theirs)
    assert {name for names in theirs.values() for name in names} >= {"inner", "outer", "alias", "main"}
    assert all(function.name in theirs[function.address] for function in ours.values())
    assert {"inner", "outer", "main"} <= {name for function in ours.values() for name in theirs[function.address]}


def test_of_two_names_of_one_address_the_plainer_is_shown(program: Path) -> None:
    shared = next(address for address, names in functions_of_nm(program).items() if "alias" in names)
    [function] = functions_at(image_of(program.read_bytes()), [shared])
    assert function and function.name == "alias"  # as short as "outer", and before it


def test_every_address_of_a_function_is_its_own_and_the_next_byte_is_not(program: Path) -> None:
    image = image_of(program.read_bytes())
    start = next(address for address, names in functions_of_nm(program).items() if "main" in names)
    [main] = functions_at(image, [start])
    assert main and main.size > 1
    inside = range(start, start + main.size)
    assert functions_of(image, inside) == dict.fromkeys(inside, main)
    assert [*functions_at(image, [start - 1, inside.stop])] != [main, main]
    assert main not in functions_at(image, [inside.stop])


def test_file_offsets_and_addresses_translate_both_ways(program: Path) -> None:
    image = image_of(program.read_bytes())
    for address in functions_of_nm(program):
        offset = image.file_offset(address)
        assert offset is not None
        assert image.address(offset) == address


def test_build_id_is_that_of_readelf(program: Path) -> None:
    notes = subprocess.check_output(["readelf", "-n", program], text=True)
    assert f"Build ID: {image_of(program.read_bytes()).build_id.hex()}" in notes


def mapped_files() -> list[Path]:
    """The interpreter that runs this, and its libraries."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sorted({Path(line.split()[5]) for line in lines if " r-xp " in line and "/" in line})


@pytest.mark.parametrize("path", mapped_files(), ids=lambda path: path.name)
def test_of_every_function_of_a_real_file_the_preferred_name_is_found(path: Path) -> None:
    """By readelf, of the file and of its debug file: one with a size, without underscores in front, short; no compiler's."""
    names: dict[int, set[tuple[bool, int, int, str]]] = {}
    labels = set()
    with path.open("rb") as file:
        build_id = ElfImage(FileOctets(file)).build_id.hex()
    debug_file = Path(f"{DEBUG_FILES}/{build_id[:2]}/{build_id[2:]}.debug")
    read = [path, debug_file] if debug_file.exists() else [path]
    for line in subprocess.check_output(["readelf", "-sW", *read], text=True).splitlines():
        match line.split():
            case [_, address, size, "FUNC" | "IFUNC", _, _, place, name] if place != "UND" and name[0] not in ".$":
                name = name.partition("@")[0]
                preference = not int(size, 0), len(name) - len(name.lstrip("_")), len(name), name
                names.setdefault(int(address, 16), set()).add(preference)
            case [_, address, _, "NOTYPE", *_]:  # whether it is in code readelf does not say here
                labels.add(int(address, 16))
    with path.open("rb") as file:
        ours = functions_of(ElfImage(FileOctets(file)), names.keys() - labels)
    assert {at: ours[at].name for at in names.keys() - labels} == {at: min(names[at])[3] for at in names.keys() - labels}


def test_debug_data_inside_a_stripped_file_is_read(program: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "stripped"
    inner = next(address for address, names in functions_of_nm(program).items() if "inner" in names)
    subprocess.run(["objcopy", "--strip-all", program, stripped], check=True)
    assert [*functions_at(image_of(stripped.read_bytes()), [inner])] == [None]
    subprocess.run(["objcopy", "--only-keep-debug", program, tmp_path / "debug"], check=True)
    (tmp_path / "debug.xz").write_bytes(lzma.compress((tmp_path / "debug").read_bytes()))
    subprocess.run(["objcopy", f"--add-section=.gnu_debugdata={tmp_path / 'debug.xz'}", stripped], check=True)
    [function] = functions_at(image_of(stripped.read_bytes()), [inner])
    assert function and function.name == "inner"


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(60), b"#!/bin/sh\n", bytes(4096)])
def test_what_is_no_elf_file_is_refused(data: bytes) -> None:
    with pytest.raises(ElfError):
        image_of(data)


def test_no_damage_does_more_than_raise(program: Path) -> None:
    """Every header byte in turn is set to 255: the image reads, or says that it is damaged."""
    whole = program.read_bytes()
    refused = 0
    for place in range(64):
        damaged = whole[:place] + b"\xff" + whole[place + 1 :]
        try:
            image = image_of(damaged)
            _ = [*functions_at(image, [0x1000])], image.build_id
        except ElfError:
            refused += 1
    assert 0 < refused < 64


def made_of(sections: list[tuple[bytes, int, bytes]]) -> ElfImage:
    """Return an image of sections: a name, a type, and bytes, which lie in the file once if they are equal."""
    names, body, places = b"\0", bytes(64), dict[bytes, int]()
    rows = []
    for name, kind, data in [*sections, (b".shstrtab", 3, b"")]:
        if data not in places:
            places[data] = len(body)
            body += data
        rows.append((len(names), kind, 0, 0, places[data], len(data), 0, 0, 0, 0))
        names += name + b"\0"
    rows[-1] = (*rows[-1][:4], len(body), len(names), *rows[-1][6:])
    body += names
    counts = 64, 0, 0, 64, len(rows), len(rows) - 1
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01", 3, 62, 1, 0, 0, len(body), 0, *counts)
    return image_of(head + body[64:] + b"".join(SECTION.pack(*row) for row in rows))


def test_tables_that_lie_on_each_other_are_read_once() -> None:
    symbols = struct.pack("<IBBHQQ", 0, 2, 0, 1, 0x1000, 16) * 100
    image = made_of([(b".symtab", SHT_SYMTAB, symbols)] * 500)
    assert sum(len(words) // 3 for words, _ in image.symbols(SHT_SYMTAB)) == 100


def test_debug_data_is_unpacked_once() -> None:
    packed = lzma.compress(b"no ELF file, but a kilobyte" * 40)
    image = made_of([(b".gnu_debugdata", 1, packed)] * 500)
    before = len(os.listdir("/proc/self/fd"))
    with image.with_debug_images() as images:
        assert len(images) == 1
        assert len(os.listdir("/proc/self/fd")) == before + 1


def test_a_file_that_shrinks_while_it_is_read_is_damaged(program: Path, tmp_path: Path) -> None:
    """It is not mapped: nobody is killed. What was read before is not read again."""
    shrinking = tmp_path / "shrinking"
    shrinking.write_bytes(program.read_bytes())
    with shrinking.open("rb") as file:
        image = ElfImage(FileOctets(file))
        os.truncate(shrinking, 4096)
        with pytest.raises(ElfError):
            [*functions_at(image, [0x1000])]


def test_a_file_that_is_closed_has_no_more_bytes(program: Path) -> None:
    with program.open("rb") as file:
        image = ElfImage(FileOctets(file))
    with pytest.raises(ElfError):
        [*functions_at(image, [0x1000])]


PIECES = """
import sys
from offwake.recorder.binaries.elf import ElfImage
from offwake.recorder.binaries.functions import functions_at
from offwake.recorder.binaries.octets import FileOctets
from offwake.recorder.output.own_cost import peak_memory_bytes
from offwake.recorder.binaries.unwind_tables import entries_of, unwind_rows

addresses, before = [int(at) for at in sys.argv[2:]], peak_memory_bytes()
with open(sys.argv[1], "rb") as file:
    image = ElfImage(FileOctets(file))
    unwind_rows(image, entries_of(image, addresses))
    names = [function.name for function in functions_at(image, addresses) if function]
print(peak_memory_bytes() - before, *names)
"""


def read_in_a_child(path: Path, addresses: list[int]) -> tuple[int, list[str]]:
    """Return by how many bytes the memory of a process grew that read names and unwind tables, and the names."""
    command: list[str | Path] = [sys.executable, "-c", PIECES, path, *map(str, addresses)]
    grown, *names = subprocess.check_output(command, text=True).split()
    return int(grown), names


GROWN_AT_MOST = 32 << 20


def test_half_a_million_functions_take_little_memory(tmp_path: Path) -> None:
    """A file of 64 MB whose names alone are 40; they are in no order, and only ten are asked for."""
    count, text = 500_000, 0x10000
    order = random.Random(7).sample(range(count), count)
    names = b"\0" + b"".join(b"function_%07d_%060d\0" % (number, 0) for number in range(count))
    length = (len(names) - 1) // count
    symbols = b"".join(
        struct.pack("<IBBHQQ", 1 + length * number, 2, 0, 1, text + 16 * number, 16) for number in order
    )
    section = struct.Struct("<IIQQQQIIQQ")
    symbols_at = 64
    names_at = symbols_at + len(symbols)
    headers = b"".join(
        (
            bytes(section.size),
            section.pack(0, 1, 6, text, 0, 0, 0, 0, 1, 0),
            section.pack(0, 2, 0, 0, symbols_at, len(symbols), 3, 0, 8, 24),
            section.pack(0, 3, 0, 0, names_at, len(names), 0, 0, 1, 0),
        )
    )
    header = struct.pack("<4sBB34xQ10xHHH", b"\x7fELF", 2, 1, names_at + len(names), 64, 4, 0)
    assert len(header) == symbols_at
    path = tmp_path / "half-a-million"
    path.write_bytes(header + symbols + names + headers)
    wanted = random.Random(8).sample(range(count), 10)
    grown, found = read_in_a_child(path, sorted(text + 16 * number + 3 for number in wanted))
    assert found == [f"function_{number:07d}_{0:060d}" for number in sorted(wanted)]
    assert grown < GROWN_AT_MOST


def test_the_largest_libraries_here_take_little_memory() -> None:
    files = {path.stat().st_ino: path for folder in LARGE for path in Path(folder).rglob("*.so*") if path.is_file()}
    largest = sorted(files.values(), key=lambda path: path.stat().st_size)[-3:]
    assert largest[-1].stat().st_size > GROWN_AT_MOST
    for path in largest:
        theirs = functions_of_nm(path) | functions_of_nm(path, "-D")
        some = sorted(random.Random(9).sample(sorted(theirs), min(len(theirs), 1000)))
        grown, found = read_in_a_child(path, some)
        assert {name for address in some for name in theirs[address]}.issuperset(found) and found
        assert grown < GROWN_AT_MOST
