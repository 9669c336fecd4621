"""The kernel's verifier takes every build of the programs, and soon has gone through them where it knows may_goto."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from offwake.errors import CannotRecord
from offwake.recorder.kernel.bpf_module import Module
from offwake.recorder.kernel.compiler import Compiled, compiled
from offwake.recorder.programs import loading
from offwake.recorder.programs.program import Program
from offwake.recorder.programs.program_text import Build
from offwake.recorder.programs.trigger import Trigger
from offwake.recorder.sources import all_sources

USUAL = Build(recorder=os.getpid(), user_stack_bytes=64 << 10)
BUILDS = {
    "usual": USUAL,
    "most": replace(
        USUAL,
        user_stack_bytes=128 << 10,
        narrowed=True,
        min_block_ns=1_000_000,
        trigger=Trigger(blocked_ns=500_000_000, comm="nginx"),
        redacted=True,
    ),
    "without wakers": replace(USUAL, narrowed=True, wakers=False),
}
AT_MOST = 60_000
"""Instructions that it goes through for a recording with default sources. Turn by turn they would be six times as many."""


@contextmanager
def loaded(build: Build) -> Iterator[Program]:
    program = loading.load([source for source in all_sources().values() if source.default], build)
    try:
        yield program
    finally:
        program.close()


@pytest.mark.parametrize(("may_goto", "casts"), [(True, True), (False, True), (False, False)], ids=["6.9", "6.2", "6.1"])
@pytest.mark.parametrize("name", BUILDS)
def test_every_build_is_taken(name: str, may_goto: bool, casts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as it is for kernels that know no may_goto, which came with 6.9, or no casts, which came with 6.2."""
    if not casts:
        monkeypatch.setattr(loading, "cast_numbers", lambda btf: {})
    build = replace(BUILDS[name], may_goto=may_goto)
    with loaded(build) as program:
        assert program.build == build, program.unavailable
        assert not program.unavailable


def test_it_soon_has_gone_through_them(monkeypatch: pytest.MonkeyPatch) -> None:
    gone_through: dict[str, int] = {}
    load_really = Module.load

    def load_and_look(module: Module, function: str, kind: int, attached_as: int = 0) -> int:
        descriptor = load_really(module, function, kind, attached_as)
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
        gone_through[function] = next(int(line.split()[1]) for line in lines if line.startswith("verified_insns"))
        return descriptor

    monkeypatch.setattr(Module, "load", load_and_look)
    with loaded(USUAL):
        pass
    assert len(gone_through) > 20
    assert sum(gone_through.values()) < AT_MOST, gone_through


def test_where_its_loops_are_refused_others_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def refusing(text: str) -> Compiled:
        texts.append(text)
        if "#define MAY_GOTO" in text:
            raise CannotRecord("the BPF program was refused: infinite loop detected")
        return compiled(text)

    monkeypatch.setattr(loading, "compiled", refusing)
    with loaded(USUAL) as program:
        assert "#define MAY_GOTO" in texts[0]
        assert program.build == replace(USUAL, may_goto=False)
        assert not program.unavailable
