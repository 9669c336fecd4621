"""Name look-ups: every getaddrinfo, gethostbyname and gethostbyname2 of every C library that some process has mapped when
the recording begins, those of containers too."""

import re
from importlib.resources import files

from offwake.recorder.libraries import mapped_files, sites_of
from offwake.recorder.sources import Event, Field, Source
from offwake.recorder.uprobes import Site

RETURNS = {
    "getaddrinfo": "on_getaddrinfo_return",
    "gethostbyname": "on_gethostbyname_return",
    "gethostbyname2": "on_gethostbyname_return",
}
C_LIBRARY = re.compile(r"/(libc\.so\.6|libc-2\.\d+\.so|libc\.musl-[\w-]+\.so\.1|ld-musl-[\w-]+\.so\.1|libc\.so)$")
"""Of glibc, by its name and by that before 2.34, and of musl, where it is the loader too."""


def sites() -> list[Site]:
    """Find the functions that look names up."""
    found = []
    for _, file in mapped_files(lambda path: C_LIBRARY.search(path) is not None):
        for name, offset in sites_of(file, RETURNS.__contains__):
            found += [Site(file, offset, "on_lookup_call"), Site(file, offset, RETURNS[name], at_return=True)]
    return found


SOURCE = Source(
    name="dns",
    summary="name look-ups through the C library, with host and latency: dns table, heat map and histogram",
    program=files(__package__).joinpath("dns.bpf.c"),
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
    sites=sites,
    probes=("on_lookup_call", *dict.fromkeys(RETURNS.values())),
)
