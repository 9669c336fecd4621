"""Scheduling: who left the CPU and why, who woke whom. What all off-CPU and off-wake analysis rests on."""

from offwake.recorder.sources import Event, Field, Source, text_of

SOURCE = Source(
    name="sched",
    summary="context switches and wakings: off-CPU, off-wake and chain graphs, run queue, threads",
    default=True,
    program=text_of("sched.bpf.c"),
    events=(
        Event(
            "sched_switch",
            "sched_switch",
            (
                Field("prev", "u4"),
                Field("prev_tgid", "u4"),
                Field("next", "u4"),
                Field("state", "u4"),
            ),
        ),
        Event(
            "sched_waking",
            "sched_waking",
            (
                Field("waker", "u4"),
                Field("waker_tgid", "u4"),
                Field("target", "u4"),
                Field("target_tgid", "u4"),
            ),
        ),
        Event(
            "sched_wakeup_new",
            "sched_wakeup_new",
            (
                Field("waker", "u4"),
                Field("target", "u4"),
                Field("target_tgid", "u4"),
                Field("comm", "S16"),
            ),
        ),
    ),
)
