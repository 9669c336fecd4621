"""bcc, as the compiler of BPF programs: C text in, code and maps out; in a child, once for each text and boot.

clang takes a second and a hundred megabytes, which a recorder has no use for once it has the code. So it runs in a child,
and what it made is kept until the next boot: the text holds everything that the code depends on, the kernel's offsets
among it.
"""

import json
import os
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, NoReturn

from offwake.errors import CannotRecord
from offwake.recorder.kernel.boot_cache import kept

__all__ = ["Compiled", "MapSpec", "compiled"]

TEXT_OF_FDINFO = {"map_type", "key_size", "value_size", "max_entries", "map_flags"}


@dataclass(frozen=True)
class MapSpec:
    """A map that code uses: what bpf(BPF_MAP_CREATE) wants to know, and the number that stands for it in the code."""

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    number: int


@dataclass(frozen=True)
class Compiled:
    """The code of every function of a text, and the maps that it uses."""

    maps: tuple[MapSpec, ...]
    functions: dict[str, bytes]


def compiled(text: str) -> Compiled:
    """Compile a text, or take what was made of it before. Raises CannotRecord with what the compiler said."""
    return _read(kept(text, lambda: _in_child(text)))


def _read(packed: bytes) -> Compiled:
    value = json.loads(packed)
    functions = {name: bytes.fromhex(code) for name, code in value["functions"].items()}
    return Compiled(tuple(MapSpec(*row) for row in value["maps"]), functions)


def _in_child(text: str) -> bytes:
    """Compile in a child: its memory goes with it."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if not pid:
        os.close(ours)
        _be_the_child(text, theirs)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        packed = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not packed:
        raise CannotRecord(f"the compiler ended with status {os.waitstatus_to_exitcode(status)}: is there memory for it?")
    value = json.loads(packed)
    if "error" in value:
        raise CannotRecord(value["error"])
    return packed


def _be_the_child(text: str, pipe: int) -> NoReturn:
    try:
        try:
            value = _compile(text)
        except CannotRecord as error:
            value = {"error": str(error)}
        with os.fdopen(pipe, "wb") as file:
            file.write(json.dumps(value).encode())
    finally:
        os._exit(1)


def _compile(text: str) -> dict[str, Any]:
    from offwake.recorder.kernel.bcc_module import compiling, load_bcc  # in the child: few recorders need one

    bcc = load_bcc()
    with compiling() as messages:
        try:
            module = bcc.BPF(text=text.encode())
        except Exception as error:  # bcc raises bare Exception for whatever clang refuses
            messages.seek(0)
            said = [line.decode(errors="replace").strip() for line in messages]
            first = next((line for line in said if "error" in line.lower()), said[-1] if said else "")
            raise CannotRecord(f"the BPF program was refused: {error}: {first}") from error
    library, handle = bcc.libbcc.lib, module.module
    library.bpf_table_name.restype = bcc.libbcc.ct.c_char_p
    library.bpf_table_name.argtypes = [bcc.libbcc.ct.c_void_p, bcc.libbcc.ct.c_ulonglong]
    library.bpf_num_tables.argtypes = [bcc.libbcc.ct.c_void_p]
    names = [library.bpf_table_name(handle, number) for number in range(library.bpf_num_tables(handle))]
    functions = [library.bpf_function_name(handle, number) for number in range(library.bpf_num_functions(handle))]
    code = {
        name.decode(): bcc.libbcc.ct.string_at(
            library.bpf_function_start(handle, name), library.bpf_function_size(handle, name)
        ).hex()
        for name in functions
    }
    return {"maps": [astuple(_spec(name.decode(), library.bpf_table_fd(handle, name))) for name in names], "functions": code}


def _spec(name: str, descriptor: int) -> MapSpec:
    """Describe a map as the kernel does."""
    lines = (line.partition(":") for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines())
    facts = {key: int(value, 0) for key, _, value in lines if key in TEXT_OF_FDINFO}
    sizes = facts["key_size"], facts["value_size"], facts["max_entries"]
    return MapSpec(name, facts["map_type"], *sizes, facts["map_flags"], descriptor)
