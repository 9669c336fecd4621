"""Function symbols of real ELF files, held against binutils."""

import lzma
import subprocess
from pathlib import Path

import pytest

from offwake.recorder.elf import ElfError, ElfImage

PROGRAM = """
static int __attribute__((noinline)) inner(int x) { return x * 3; }
int outer(int x) { return inner(x) + 1; }
int alias(int x) __attribute__((alias("outer")));
int main(int argc, char **argv) { (void)argv; return outer(argc) == 4 ? 0 : alias(argc); }
"""


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


def test_functions_are_those_of_nm(program: Path) -> None:
    image = ElfImage(program.read_bytes())
    theirs = functions_of_nm(program)
    ours = {function.address: function.name for function in image.functions}
    assert {name for names in theirs.values() for name in names} >= {"inner", "outer", "alias", "main"}
    assert all(name in theirs[address] for address, name in ours.items())
    assert {"inner", "outer", "main"} <= {name for address in ours for name in theirs[address]}


def test_of_two_names_of_one_address_the_plainer_is_shown(program: Path) -> None:
    image = ElfImage(program.read_bytes())
    shared = next(address for address, names in functions_of_nm(program).items() if "alias" in names)
    function = image.function_at(shared)
    assert function and function.name == "alias"  # as short as "outer", and before it


def test_every_address_of_a_function_is_its_own_and_the_next_byte_is_not(program: Path) -> None:
    image = ElfImage(program.read_bytes())
    outer = next(function for function in image.functions if function.name == "main")
    assert image.function_at(outer.address) == image.function_at(outer.address + outer.size - 1) == outer
    assert image.function_at(outer.address + outer.size) != outer


def test_file_offsets_and_addresses_translate_both_ways(program: Path) -> None:
    image = ElfImage(program.read_bytes())
    for function in image.functions:
        offset = image.file_offset(function.address)
        assert offset is not None
        assert image.address(offset) == function.address


def test_build_id_is_that_of_readelf(program: Path) -> None:
    notes = subprocess.check_output(["readelf", "-n", program], text=True)
    assert f"Build ID: {ElfImage(program.read_bytes()).build_id.hex()}" in notes


def test_a_stripped_library_gives_its_dynamic_symbols() -> None:
    libc = Path("/lib/x86_64-linux-gnu/libc.so.6")
    names = {function.name for function in ElfImage(libc.read_bytes()).functions}
    assert {"read", "write", "malloc", "fsync"} <= names


def test_debug_data_inside_a_stripped_file_is_read(program: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "stripped"
    subprocess.run(["objcopy", "--strip-all", program, stripped], check=True)
    assert "inner" not in {function.name for function in ElfImage(stripped.read_bytes()).functions}
    subprocess.run(["objcopy", "--only-keep-debug", program, tmp_path / "debug"], check=True)
    (tmp_path / "debug.xz").write_bytes(lzma.compress((tmp_path / "debug").read_bytes()))
    subprocess.run(["objcopy", f"--add-section=.gnu_debugdata={tmp_path / 'debug.xz'}", stripped], check=True)
    assert "inner" in {function.name for function in ElfImage(stripped.read_bytes()).functions}


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(60), b"#!/bin/sh\n", bytes(4096)])
def test_what_is_no_elf_file_is_refused(data: bytes) -> None:
    with pytest.raises(ElfError):
        _ = ElfImage(data).functions


def test_no_damage_does_more_than_raise(program: Path) -> None:
    """Every header byte in turn is set to 255: the image reads, or says that it is damaged."""
    whole = program.read_bytes()
    refused = 0
    for place in range(64):
        damaged = whole[:place] + b"\xff" + whole[place + 1 :]
        try:
            _ = ElfImage(damaged).functions, ElfImage(damaged).build_id
        except ElfError:
            refused += 1
    assert 0 < refused < 64
