"""Programs load what lies in the kernel's memory where it lets them, and call for it elsewhere."""

from contextlib import suppress

import pytest

from offwake.recorder.kernel.btf import Btf
from offwake.recorder.kernel.casts import cast_numbers


def test_a_kernel_that_has_casts_takes_them() -> None:
    btf, numbers = Btf(), dict[str, int]()
    with suppress(KeyError):  # they came with 6.2
        numbers = {"RDONLY_CAST": btf.function("bpf_rdonly_cast"), "TIMESPEC64": btf.struct("timespec64")}
    assert cast_numbers(btf) == numbers


def test_there_are_none_where_the_kernel_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def function(btf: Btf, name: str) -> int:
        raise KeyError(f"this kernel has no {name}")

    monkeypatch.setattr(Btf, "function", function)
    assert cast_numbers(Btf()) == {}


def test_there_are_none_where_the_kernel_refuses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Btf, "struct", lambda btf, name: 1)  # a number, of which nothing can be loaded by its members
    assert cast_numbers(Btf()) == {}
