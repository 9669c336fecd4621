"""Name look-ups: every getaddrinfo, gethostbyname and gethostbyname2 of every C library that some process maps, those of
containers too, also of such as begin later."""

import re
from typing import BinaryIO

from offwake.recorder.binaries.elf import SYMBOLS_SOON_READ
from offwake.recorder.binaries.libraries import sites_of
from offwake.recorder.kernel.uprobes import Site
from offwake.recorder.sources import Event, Field, InFiles, Source, text_of

RETURNS = {
    "getaddrinfo": "on_getaddrinfo_return",
    "gethostbyname": "on_gethostbyname_return",
    "gethostbyname2": "on_gethostbyname_return",
}
C_LIBRARY = re.compile(r"/(libc\.so\.6|libc-2\.\d+\.so|libc\.musl-[\w-]+\.so\.1|ld-musl-[\w-]+\.so\.1|libc\.so)$")
"""Of glibc, by its name and by that before 2.34, and of musl, where it is the loader too."""


def lookups_in(file: BinaryIO) -> list[Site]:
    """Find the functions that look names up."""
    found = []
    for name, offset in sites_of(file, RETURNS.__contains__, SYMBOLS_SOON_READ):
        found += [Site(file, offset, "on_lookup_call"), Site(file, offset, RETURNS[name], at_return=True)]
    return found


SOURCE = Source(
    name="dns",
    summary="name look-ups through the C library, with host and latency: dns table, heat map and histogram",
    program=text_of("dns.bpf.c"),
    events=(
        Event(
            "dns_lookup",
            "",
            (
                Field("tid", "u4"),
                Field("tgid", "u4"),
                Field("latency_ns", "u8"),
                Field("failed", "u1"),
                Field("host", "S255"),
            ),
        ),
    ),
    in_files=InFiles(lambda path: C_LIBRARY.search(path) is not None, lookups_in),
    probes=("on_lookup_call", *dict.fromkeys(RETURNS.values())),
)
