"""Declared sources: what a declaration promises, without a kernel; and with this kernel's BTF, what it resolves to."""

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from offwake.errors import CannotRecord, UsageError
from offwake.recorder.kernel.btf import VMLINUX, Btf
from offwake.recorder.kernel.ring import PAGE, ring_pages
from offwake.recorder.sources import Event, Field, all_sources, chosen_sources, default_sources

EVENTS = [event for source in all_sources().values() for event in source.events]
C_TYPES = {
    "u1": ctypes.c_uint8,
    "u2": ctypes.c_uint16,
    "u4": ctypes.c_uint32,
    "u8": ctypes.c_uint64,
    "i4": ctypes.c_int32,
    "i8": ctypes.c_int64,
}
needs_btf = pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_a_payload_is_laid_out_as_c_lays_out_a_struct(event: Event) -> None:
    fields = [(field.name, C_TYPES.get(field.type, ctypes.c_uint8 * field.size)) for field, _ in event.payload]
    struct = type(event.name, (ctypes.Structure,), {"_fields_": fields})
    assert [at for _, at in event.payload] == [getattr(struct, name).offset for name, _ in fields]
    assert event.size == ctypes.sizeof(struct)
    assert event.payload[0][0].name == "kind"


def test_the_default_sources_are_those_of_the_manual() -> None:
    assert sorted(default_sources()) == ["block", "on-cpu", "sched", "tcp"]


def test_an_unknown_source_is_named_with_those_that_exist() -> None:
    known = "block, count:PATTERN, dns, .*, tcp-stats, time:PATTERN, trace:GROUP:NAME"
    with pytest.raises(UsageError, match=f"unknown source 'schd'; there are {known}"):
        chosen_sources(["sched", "schd"])


def test_a_source_is_chosen_once() -> None:
    assert [source.name for source in chosen_sources(["tcp", "sched", "tcp"])] == ["tcp", "sched"]


def test_what_a_source_needs_is_recorded_with_it() -> None:
    names = [source.name for source in chosen_sources(["tcp-stats", "sched"])]
    assert names == ["tcp-stats", "sched", "tcp", "tcp-drop"]
    assert all(set(source.needs) <= set(all_sources()) for source in all_sources().values())


@needs_btf
def test_every_declared_member_and_tracepoint_exists_on_this_kernel() -> None:
    btf = Btf()
    for event in EVENTS:
        if event.tracepoint:
            btf.tracepoint_arguments(event.tracepoint)
        values = [field.value for field in event.fields if "{" not in field.value]
        expressions = [event.when, *(field.value for field in event.fields)]
        for value in values + [braced for text in expressions for braced in re.findall(r"\{(.+?)\}", text)]:
            if "->" in value:
                assert btf.member(value.partition("->")[2]).size >= 1


@needs_btf
def test_members_are_found_through_pointers_and_anonymous_structs() -> None:
    btf = Btf()
    assert btf.member("task_struct.pid").size == 4
    assert btf.member("task_struct.pid").pointers == ()
    through = btf.member("request.q.disk.first_minor")
    assert len(through.pointers) == 2
    assert through.offset == btf.member("gendisk.first_minor").offset
    assert btf.member("sock.__sk_common.skc_daddr").size == 4  # inside an anonymous union and struct
    assert btf.member("sock.__sk_common.skc_v6_daddr").size == 16
    assert not btf.has_member("task_struct.no_such_member")
    held = btf.member("sk_buff.cb(tcp_skb_cb).tcp_gso_segs")
    assert held.offset == btf.member("sk_buff.cb").offset + btf.member("tcp_skb_cb.tcp_gso_segs").offset
    assert held.size == 2
    pointed = btf.member("sk_buff.sk(tcp_sock).snd_nxt")
    assert pointed.pointers == (btf.member("sk_buff.sk").offset,)
    assert pointed.offset == btf.member("tcp_sock.snd_nxt").offset
    with pytest.raises(KeyError, match="no_such_member"):
        btf.member("task_struct.no_such_member")
    with pytest.raises(KeyError, match="no_such_struct"):
        btf.member("no_such_struct.member")


@needs_btf
def test_enumerations_are_read_as_the_kernel_prints_them() -> None:
    reasons = Btf().enum("skb_drop_reason")
    assert reasons["SKB_CONSUMED"] < reasons["SKB_DROP_REASON_NOT_SPECIFIED"] < reasons["SKB_DROP_REASON_NO_SOCKET"]
    with pytest.raises(KeyError, match="this kernel has no no_such_enum"):
        Btf().enum("no_such_enum")


@needs_btf
def test_a_tracepoints_arguments_are_named_by_their_types() -> None:
    assert Btf().tracepoint_arguments("sched_switch").count("task_struct") == 2
    assert Btf().tracepoint_arguments("sched_waking") == ["task_struct"]


@needs_btf
def test_a_pointer_is_one_to_what_lies_at_the_beginning_too() -> None:
    btf = Btf()
    assert btf.begins_with("request", "request") and btf.begins_with("tcp_sock", "sock")
    assert not btf.begins_with("sock", "tcp_sock") and not btf.begins_with("request", "request_queue")


def test_a_kernel_without_btf_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CannotRecord, match="CONFIG_DEBUG_INFO_BTF"):
        Btf(tmp_path / "vmlinux")


def test_an_unknown_value_of_a_field_is_the_declarations_error() -> None:
    assert Field("tid", "u4", "tid").alignment == 4
    assert Field("comm", "S16").alignment == 1
    assert np.dtype("S16").itemsize == Field("comm", "S16").size


@pytest.mark.parametrize(
    ("total_mb", "cpus", "each_kb"), [(64, 2, 32 << 10), (64, 3, 16 << 10), (64, 128, 512), (1, 128, 256)]
)
def test_rings_share_the_memory_they_are_given(total_mb: int, cpus: int, each_kb: int) -> None:
    assert ring_pages(total_mb << 20, cpus) * PAGE == each_kb << 10


def test_the_namesake_from_pypi_is_not_taken_for_bcc(tmp_path: Path) -> None:
    """A package named bcc without BPF comes first on the path: the distribution's is found all the same, or asked for."""
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "__init__.py").write_text("compiler = 'a C compiler, not BPF'\n")
    code = """
from offwake.errors import CannotRecord
from offwake.recorder.kernel.bcc_module import load_bcc
try:
    print(hasattr(load_bcc(), "BPF"))
except CannotRecord as error:
    print("apt-get install python3-bpfcc" in str(error) and "PyPI" in str(error))
"""
    said = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert said.stdout == "True\n", said.stderr
