"""The declaration of `count:PATTERN` and `time:PATTERN`: a map by function and process, and the programs that add to it."""

from zlib import crc32

from offwake.errors import UsageError
from offwake.recorder.kernel.uprobes import Site
from offwake.recorder.patterns import Function, kernel_functions, tracepoints, user_functions
from offwake.recorder.sources import Counting, Event, Field, Source, text_of

__all__ = ["declared"]

KEY = ("function", "tgid", "power")
"""The last one is the power of two of how long calls took that are timed."""
COUNT, TIMES = (Field("count", "u8"),), (Field("total_ns", "u8"), Field("squares_low", "u8"), Field("squares_high", "u8"))


def declared(what: str, pattern: str) -> Source:
    """Declare a source that counts ("count") or times ("time") what fits a pattern. Raises UsageError or CannotRecord."""
    kind, _, rest = pattern.partition(":")
    first, _, glob = rest.partition(":")
    name = f"functions_{crc32(f'{what}:{pattern}'.encode()):08x}"
    source = Source(f"{what}:{pattern}", f"{what} {pattern}")
    if kind == "t" and glob:
        if what == "time":
            raise UsageError(f"time:{pattern}: a tracepoint takes no time; try count:, or trace:A..B by FIELD")
        return _of_tracepoints(source, name, tracepoints(first, glob))
    found = user_functions(first, glob) if kind == "u" and glob else kernel_functions(pattern)
    sums = COUNT if what == "count" else (*COUNT, *TIMES)
    probes = (f"on_{name}_call",) if what == "count" else (f"on_{name}_begin", f"on_{name}_return")
    sites = [
        Site(one.file, one.offset, probe, probe.endswith("return"), cookie, one.name)
        for cookie, one in enumerate(found)
        for probe in probes
    ]
    text = text_of("count.bpf.c")
    if what == "count":  # what is timed has more in its map
        begin, end = text.index("int on_MAP_begin"), len(text)
        text = text[:begin] + text[end:]
    return Source(
        source.name,
        source.summary,
        program=text.replace("MAP", name),
        sites=lambda: sites,
        probes=probes,
        counting=_counting(name, sums, found),
        in_kernel=found[0].file is None,
    )


def _of_tracepoints(source: Source, name: str, found: list[Function]) -> Source:
    """Give each tracepoint a program of its own: there is no cookie to know it by."""
    events = tuple(Event(f"{name}_{number}", one.name, ()) for number, one in enumerate(found))
    programs = (
        f"""
int {event.function}(struct bpf_raw_tracepoint_args *ctx)
{{
    struct {name}_key key = {{{number}, bpf_get_current_pid_tgid() >> 32, 0}};
    struct {name}_value *value = is_own(key.tgid) ? 0 : {name}_at(&key);

    if (value)
        __sync_fetch_and_add(&value->count, 1);
    return 0;
}}
"""
        for number, event in enumerate(events)
    )
    counting = _counting(name, COUNT, found)
    return Source(source.name, source.summary, events, program="".join(programs), counting=counting)


def _counting(name: str, sums: tuple[Field, ...], found: list[Function]) -> Counting:
    names = tuple((one.name, one.where) for one in found)
    return Counting(name, tuple(Field(one, "u4") for one in KEY), sums, entries=65536, names=names)
