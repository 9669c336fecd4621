"""What --redact makes of the texts that may hold a name or an address."""

import struct
from pathlib import Path
from typing import Any

import pytest

from offwake.format import values
from offwake.format.layout import Kind
from offwake.format.reader import TraceReader
from offwake.format.records import SAMPLE_IDENTIFIER, SAMPLE_TID, SAMPLE_TIME, Comm, sideband_records
from offwake.format.writer import Block, TraceWriter
from offwake.recorder.output.redaction import HIDDEN, looks_like_an_address, redacted

ID = "3f2a9c41d07be865" * 4


def redacted_snapshot(snapshot: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = values.unpack(bytes(redacted(Kind.SNAPSHOT, values.pack(snapshot))))
    return found


def cgroup_of(path: str) -> str:
    return str(redacted_snapshot({"threads": [], "cgroups": [[path, [1]]]})["cgroups"][0][0])


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/system.slice/nginx.service", "/system.slice/nginx.service"),
        ("/sshd@5-10.1.2.3:22-192.168.7.4:55555.service", f"/sshd@5-{HIDDEN}:22-{HIDDEN}:55555.service"),
        ("/kubepods/pod1.2.3", "/kubepods/pod1.2.3"),
        ("/mnt/fd00:12:0:0:0:0:0:9", f"/mnt/{HIDDEN}"),
        ("/std::list", "/std::list"),
    ],
)
def test_addresses_in_paths_of_cgroups(path: str, kept: str) -> None:
    assert cgroup_of(path) == kept


def test_the_id_of_a_container_becomes_another_one_which_stays_the_same() -> None:
    one, same, other = cgroup_of(f"/docker/{ID}"), cgroup_of(f"/docker/{ID}/init"), cgroup_of(f"/docker/{ID[::-1]}")
    assert ID[:12] not in one
    assert len(one) == len(f"/docker/{ID}")
    assert same == f"{one}/init"
    assert other != one


@pytest.mark.parametrize("comm", ["10.1.2.3-manage", "192.168.100.200", "fd00::1-manager", "::1"])
def test_names_that_look_like_an_address(comm: str) -> None:
    assert looks_like_an_address(comm)
    kept = redacted_snapshot({"threads": [[5, 5, comm, "S", 0, 1, None]], "cgroups": []})
    assert kept["threads"] == [[5, 5, HIDDEN, "S", 0, 1, None]]


@pytest.mark.parametrize("comm", ["python3.11", "kworker/0:1H", "org.gnome.Shell", "nginx", "", "..:"])
def test_names_that_do_not(comm: str) -> None:
    assert not looks_like_an_address(comm)


def test_names_in_the_side_band_are_hidden_where_they_stand(tmp_path: Path) -> None:
    def record(comm: bytes, time_ns: int) -> bytes:
        name = comm + bytes(8 - len(comm) % 8)
        body = struct.pack("<II", 7, 7) + name + struct.pack("<IIQQ", 7, 7, time_ns, 99)
        return struct.pack("<IHH", 3, 0, 8 + len(body)) + body

    spans = [record(b"nginx", 1) + record(b"10.1.2.3-manage", 2), record(b"::1", 3)]
    path = tmp_path / "x.offwake"
    with path.open("wb") as file:
        writer = TraceWriter(file.fileno())
        writer.edit = redacted
        writer.write(Block(Kind.SIDEBAND, 0, ring_head=sum(map(len, spans))), spans)
        writer.finish({})
    with TraceReader.open(path) as reader:
        (span,) = (reader.payload(block) for block in reader.blocks if block.kind == Kind.SIDEBAND)
    assert span is not None and len(span) == sum(map(len, spans))
    records = list(sideband_records(span, SAMPLE_TID | SAMPLE_TIME | SAMPLE_IDENTIFIER))
    assert [record.comm for record in records if isinstance(record, Comm)] == ["nginx", HIDDEN, HIDDEN[:3]]
    assert [record.time_ns for record in records if isinstance(record, Comm)] == [1, 2, 3]
