"""How programs read the kernel's memory without a call: an address is cast to a pointer to a struct, and loaded from.

Where there is nothing a load gives 0. Kernels since Linux 6.2 have bpf_rdonly_cast() for that (a35b9af4ec2c), if they
compile programs and do not interpret them.
"""

import os

from offwake.recorder.kernel.bpf_module import CALL, INSTRUCTION, KERNEL_FUNCTION, RAW_TRACEPOINT, load_code
from offwake.recorder.kernel.btf import Btf

__all__ = ["cast_numbers"]


def cast_numbers(btf: Btf) -> dict[str, int]:
    """Return the numbers of the cast and of a struct that begins with 64 bits, by the names that the programs have for them;
    none where this kernel refuses a program with a cast."""
    try:
        numbers = {"RDONLY_CAST": btf.function("bpf_rdonly_cast"), "TIMESPEC64": btf.struct("timespec64")}
        os.close(load_code(b"casts", (RAW_TRACEPOINT, 0), _one_cast(*numbers.values())))
    except (KeyError, OSError):
        return {}
    return numbers


def _one_cast(function: int, struct_number: int) -> bytes:
    """Return a program that reads what lies at no address."""
    instructions = (
        (0xB7, 1, 0, 0),  # r1 = 0
        (0xB7, 2, 0, struct_number),  # r2 = …
        (CALL, KERNEL_FUNCTION, 0, function),
        (0x79, 0x00, 0, 0),  # r0 = *(u64 *)(r0 + 0)
        (0x95, 0, 0, 0),  # exit
    )
    return b"".join(INSTRUCTION.pack(*instruction) for instruction in instructions)
