"""Compiled BPF programs in the kernel: their maps, loaded and attached by bpf(2) itself.

Layouts and numbers: union bpf_attr in include/uapi/linux/bpf.h.
"""

import ctypes
import errno
import os
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from offwake.errors import CannotRecord
from offwake.recorder.kernel.compiler import Compiled, MapSpec

__all__ = [
    "CALL",
    "INSTRUCTION",
    "KERNEL_FUNCTION",
    "KPROBE",
    "LINK_CREATE",
    "PERF_EVENT",
    "RAW_TRACEPOINT",
    "U32",
    "U64",
    "Map",
    "Module",
    "await_running",
    "bpf",
    "load_code",
]

SYSCALL, MEMBARRIER = 321, 324  # x86_64
MEMBARRIER_GLOBAL, RUNS_AT_MOST_S = 1, 0.05
MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, PROG_LOAD, RAW_TRACEPOINT_OPEN, LINK_CREATE = 0, 1, 2, 3, 5, 17, 28
PROG_RUN, RUN_ON_CPU = 10, 1
MAP_LOOKUP_BATCH, NO_MORE = 24, errno.ENOENT
KPROBE, PERF_EVENT, RAW_TRACEPOINT = 2, 7, 17  # BPF_PROG_TYPE_…
PERCPU_ARRAY = 6
LOAD_MAP, PSEUDO_MAP_FD = 0x18, 1  # an instruction that loads a map, by the number in its immediate
CALL, KERNEL_FUNCTION, HELPERS_AT_MOST = 0x85, 0x20, 1 << 10  # one that calls a helper or a function, by its number there
INSTRUCTION = struct.Struct("<BBhi")  # code, registers, offset, immediate
U32, U64 = struct.Struct("<I"), struct.Struct("<Q")  # what most maps hold
NAME_AT_MOST = 15
LOG_BYTES = (1 << 24) - 1  # the most that every kernel takes

_libc = ctypes.CDLL(None, use_errno=True)


class Map:
    """A map in the kernel. Keys are numbers, values bytes; of a map by CPU, the values of all CPUs that are possible."""

    def __init__(self, spec: MapSpec) -> None:
        self.spec = spec
        name = _name(spec.name)
        sizes = (spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags)
        self.fd = bpf(MAP_CREATE, struct.pack("<5I8x16s", *sizes, name))
        self._by_cpu = spec.type == PERCPU_ARRAY
        self._stride = -(-spec.value_size // 8) * 8 if self._by_cpu else spec.value_size
        self._key = ctypes.create_string_buffer(spec.key_size)
        self._value = ctypes.create_string_buffer(self._stride * (_possible_cpus() if self._by_cpu else 1))
        self._place = struct.pack("<I4xQ", self.fd, ctypes.addressof(self._key))
        self._attributes = self._place + struct.pack("<QQ", ctypes.addressof(self._value), 0)

    def get(self, key: int) -> bytes:
        """Return the value at a key. Raises OSError."""
        self._set_key(key)
        bpf(MAP_LOOKUP, self._attributes)
        return self._value.raw[: self.spec.value_size]

    def by_cpu(self, key: int) -> Iterator[bytes]:
        """Yield every CPU's value at a key. Raises OSError."""
        self._set_key(key)
        bpf(MAP_LOOKUP, self._attributes)
        octets = self._value.raw
        yield from (octets[at : at + self.spec.value_size] for at in range(0, len(octets), self._stride))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys and values of a hash map, all as they are at one time. Raises OSError."""
        most, size = self.spec.max_entries, self.spec.value_size
        keys, values = bytearray(most * self.spec.key_size), bytearray(most * size)
        place, after = ctypes.c_uint64(), [(ctypes.c_char * len(part)).from_buffer(part) for part in (keys, values)]
        attributes = struct.pack("<4Q", 0, ctypes.addressof(place), *map(ctypes.addressof, after))
        buffer = ctypes.create_string_buffer(attributes + struct.pack("<IIQQ", most, self.fd, 0, 0), 56)
        if _libc.syscall(SYSCALL, MAP_LOOKUP_BATCH, buffer, 56) < 0 and ctypes.get_errno() != NO_MORE:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        (count,) = struct.unpack_from("<I", buffer.raw, 32)
        for number in range(count):
            key = number * self.spec.key_size
            yield bytes(keys[key : key + self.spec.key_size]), bytes(values[number * size : (number + 1) * size])

    def set(self, key: int, value: bytes) -> bool:
        """Set the value at a key; False where there is no room for it."""
        self._set_key(key)
        ctypes.memmove(self._value, value, len(value))
        try:
            bpf(MAP_UPDATE, self._attributes)
        except OSError:
            return False
        return True

    def delete(self, key: int) -> None:
        """Forget a key, if it is there."""
        self._set_key(key)
        try:
            bpf(MAP_DELETE, self._place)
        except FileNotFoundError:
            return

    def _set_key(self, key: int) -> None:
        self._key.raw = key.to_bytes(self.spec.key_size, "little")


class Module:
    """What was compiled of one text, in the kernel until it is closed. Raises CannotRecord where the kernel refuses it."""

    def __init__(self, code: Compiled) -> None:
        self._code = code
        self._programs: dict[str, int] = {}
        self._links: dict[str, int] = {}
        self.maps: dict[str, Map] = {}
        try:
            for spec in code.maps:
                self.maps[spec.name] = Map(spec)
        except OSError as error:
            self.close()
            raise CannotRecord(f"the BPF map {spec.name} was refused: {error.strerror}") from error

    def load(self, function: str, kind: int, attached_as: int = 0) -> int:
        """Load a function as a program of a type (RAW_TRACEPOINT, PERF_EVENT or KPROBE); returns its descriptor."""
        if function not in self._programs:
            numbers = {one.spec.number: one.fd for one in self.maps.values()}
            code = _linked(self._code.functions[function], numbers)
            self._programs[function] = _load(function, (kind, attached_as), code)
        return self._programs[function]

    def attach(self, tracepoint: str, function: str) -> None:
        """Run a loaded program at a raw tracepoint. Raises OSError."""
        name = ctypes.create_string_buffer(tracepoint.encode())
        attributes = struct.pack("<QI4x", ctypes.addressof(name), self._programs[function])
        self._links[function] = bpf(RAW_TRACEPOINT_OPEN, attributes)

    def detach(self, function: str) -> None:
        """Run it no more."""
        if function in self._links:
            os.close(self._links.pop(function))

    def run_on(self, cpu: int, function: str) -> None:
        """Run a loaded program, which is given nothing to look at, on a CPU; on one that is offline it does not run."""
        with suppress(OSError):
            bpf(PROG_RUN, struct.pack("<I60xII", self._programs[function], RUN_ON_CPU, cpu))

    def recursion_misses(self, function: str) -> int:
        """Count how often the kernel skipped a program because it was already running."""
        text = Path(f"/proc/self/fdinfo/{self._programs[function]}").read_text()
        return int(dict(line.split(":", 1) for line in text.splitlines()).get("recursion_misses", 0))

    def close(self) -> None:
        """Detach and free everything."""
        for descriptor in (*self._links.values(), *self._programs.values(), *(one.fd for one in self.maps.values())):
            os.close(descriptor)
        self._links.clear()
        self._programs.clear()
        self.maps.clear()


def await_running() -> None:
    """Wait until no program runs any more that was detached; a hypervisor may have halted the CPU that one runs on.

    membarrier(2) waits for all CPUs to leave what RCU protects, as programs are; where some CPUs have no tick it refuses.
    """
    if _libc.syscall(MEMBARRIER, MEMBARRIER_GLOBAL, 0, 0) < 0:
        time.sleep(RUNS_AT_MOST_S)


def _linked(code: bytes, descriptors: dict[int, int]) -> bytes:
    """Put the maps' descriptors into the code, where the compiler had others; and say of calls by a number that no helper
    has that they are of functions of the kernel, by their numbers in its BTF."""
    patched = bytearray(code)
    for at in range(0, len(code), INSTRUCTION.size):
        operation, registers, offset, immediate = INSTRUCTION.unpack_from(code, at)
        if operation == LOAD_MAP and registers >> 4 == PSEUDO_MAP_FD:
            INSTRUCTION.pack_into(patched, at, operation, registers, offset, descriptors[immediate])
        if operation == CALL and registers == 0 and immediate > HELPERS_AT_MOST:
            INSTRUCTION.pack_into(patched, at, operation, KERNEL_FUNCTION, offset, immediate)
    return bytes(patched)


def load_code(name: bytes, kind: tuple[int, int], code: bytes, log: "ctypes.Array[ctypes.c_char] | None" = None) -> int:
    """Load code as a program of a type, to be attached in a way (BPF_PROG_TYPE_…, enum bpf_attach_type; 0: its usual one);
    returns its descriptor. The verifier writes into `log`. Raises OSError."""
    text, license_text = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    count = len(code) // INSTRUCTION.size
    attributes = struct.pack("<IIQQ", kind[0], count, ctypes.addressof(text), ctypes.addressof(license_text))
    written = (1, LOG_BYTES, ctypes.addressof(log)) if log else (0, 0, 0)
    return bpf(PROG_LOAD, attributes + struct.pack("<IIQII16sII", *written, 0, 0, name, 0, kind[1]))


def _load(function: str, kind: tuple[int, int], code: bytes) -> int:
    try:
        return load_code(_name(function), kind, code)
    except OSError as error:
        refused = error
    why = ""
    if refused.errno != errno.EPERM:  # the verifier has something to say
        log = ctypes.create_string_buffer(LOG_BYTES)
        try:
            return load_code(_name(function), kind, code, log)
        except OSError as error:
            if error.errno != errno.ENOSPC:  # before Linux 6.4 a log that is too long has only its beginning
                why = _last_words(log.value.decode(errors="replace"))
    raise CannotRecord(f"the BPF program was refused: {function}: {refused.strerror}{': ' if why else ''}{why}") from refused


def _last_words(log: str) -> str:
    """Return the verifier's last line that says something of the program."""
    said = (line for line in reversed(log.splitlines()) if line.strip())
    return next((line for line in said if not line.startswith(("processed ", "verification time "))), "")


def bpf(command: int, attributes: bytes) -> int:
    """Call bpf(2). Raises OSError."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = int(_libc.syscall(SYSCALL, command, buffer, len(attributes)))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _name(name: str) -> bytes:
    return name.encode()[:NAME_AT_MOST]


def _possible_cpus() -> int:
    """Return how many CPUs there can be: maps by CPU have values of as many."""
    last = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")[-1]
    return int(last.rpartition("-")[2]) + 1
