"""System calls: how often each process made each, how long that took and how often it failed; added up in the kernel."""

from offwake.recorder.sources import Counting, Event, Field, Source, text_of

SOURCE = Source(
    name="syscalls",
    summary="system calls by process and call, counted and timed in the kernel: syscalls table, histograms by call",
    program=text_of("syscalls.bpf.c"),
    events=(Event("syscall_enter", "sys_enter", ()), Event("syscall_exit", "sys_exit", ())),
    counting=Counting(
        "syscalls",
        key=(Field("tgid", "u4"), Field("call", "u4"), Field("power", "u4")),
        sums=(Field("count", "u8"), Field("total_ns", "u8"), Field("errors", "u8")),
        most=(Field("max_ns", "u8"),),
        entries=65536,
    ),
)
