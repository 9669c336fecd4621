"""`tcp-drops`: every TCP packet that the kernel dropped, with its addresses and the reason."""

from typing import Any

from offwake.analyzer.connections import AF_INET, Gathering, address, port
from offwake.analyzer.drops import KIND, drops, reason_name
from offwake.analyzer.scope import Scope
from offwake.analyzer.tables import Column, Table
from offwake.analyzer.tcp import state_name

__all__ = ["table"]

COLUMNS = (
    Column("start_ns", "ns"),
    Column("pid", "id"),
    Column("comm", "text"),
    Column("source", "text"),
    Column("source_port", "id"),
    Column("destination", "text"),
    Column("destination_port", "id"),
    Column("family", "text"),
    Column("flags", "text"),
    Column("bytes", "bytes"),
    Column("state", "text"),
    Column("reason", "text"),
)
FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")  # from the lowest bit of the header's byte on


def table(scope: Scope) -> Table:
    """Return a row a packet, in the order of time.

    Process and `state` are those of the packet's socket; None where it has none (a closed port), or nothing else is known of
    it. `bytes` is what was left of the packet, without the headers that had been taken off. Source and destination are the
    packet's, wherever it was dropped.
    """
    gathering = Gathering((KIND,))
    gathering.take(scope)
    rows = [
        {
            "start_ns": time_ns - scope.recording.began_ns,
            "pid": ends.pid,
            "comm": ends.comm,
            **_packet(row, scope.recording.redacted),
            "state": state_name(int(row["state"])) if row["socket"] else None,
            "reason": reason_name(scope.recording, int(row["reason"])),
        }
        for time_ns, ends, row in drops(scope, gathering)
    ]
    return Table("tcp-drops", COLUMNS, rows)


def _packet(row: Any, redacted: bool) -> dict[str, Any]:
    is_ipv4, flags = int(row["family"]) == AF_INET, int(row["tcp_flags"])
    source, destination = (None if redacted else _address(row[name], is_ipv4) for name in ("source", "destination"))
    return {
        "source": source,
        "source_port": port(int(row["source_port_be"])),
        "destination": destination,
        "destination_port": port(int(row["destination_port_be"])),
        "family": "IPv4" if is_ipv4 else "IPv6",
        "flags": "|".join(name for bit, name in enumerate(FLAGS) if flags >> bit & 1),
        "bytes": int(row["length"]),
    }


def _address(value: Any, is_ipv4: bool) -> str:
    octets = value.tobytes()
    return address(octets[:4] if is_ipv4 else octets)
