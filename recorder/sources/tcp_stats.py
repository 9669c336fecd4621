"""The kernel's own TCP and IP counters, second by second, and errors that reached sockets."""

from pathlib import Path

from offwake.recorder.sockets import ADDRESSES, IS_TCP, SOCKET, WHO
from offwake.recorder.sources import Event, Field, Source

FILES = (Path("/proc/self/net/snmp"), Path("/proc/self/net/netstat"))


def counters() -> dict[str, int]:
    """Read the counters of this process's network namespace, named as nstat names them; those that it lacks are left out."""
    found: dict[str, int] = {}
    for path in FILES:
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        for (prefix, *names), (_, *values) in zip(lines[::2], lines[1::2], strict=True):
            found |= {prefix.rstrip(":") + name: int(value) for name, value in zip(names, values, strict=True)}
    return found


SOURCE = Source(
    name="tcp-stats",
    summary="the kernel's TCP and IP counters once a second, and errors that reached TCP sockets",
    needs=("tcp", "tcp-drop"),
    counters=counters,
    events=(
        Event(
            "tcp_error",
            "inet_sk_error_report",
            (WHO, SOCKET, Field("error", "u4", "args[0]->sock.sk_err"), *ADDRESSES),
            when=f"{IS_TCP} && {{args[0]->sock.sk_err}}",
            optional=True,  # since 5.14
        ),
    ),
)
