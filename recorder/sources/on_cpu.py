"""On-CPU samples: what threads did while they ran."""

from offwake.recorder.sources import Event, Field, Sampling, Source, text_of

PERF_COUNT_SW_CPU_CLOCK = 0

# 49 and not 50: a sampler in step with a periodic task sees it always or never.
SOURCE = Source(
    name="on-cpu",
    summary="a stack sample 49 times a second on each CPU that runs a thread: on-CPU and wall-clock graphs",
    default=True,
    sampling=Sampling(PERF_COUNT_SW_CPU_CLOCK, hertz=49),
    program=text_of("on_cpu.bpf.c"),
    events=(Event("cpu_sample_whole", "", (Field("tgid", "u4"), Field("tid", "u4"))),),
)
