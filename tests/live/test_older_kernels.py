"""The default sources as they are on older kernels, which lack some of what they use: nothing else is missing."""

import sys
from pathlib import Path

import pytest

from tests.live.harness import ask, events, offwake

OF_6_1 = (
    ["block_io_start", "bpf_rdonly_cast", "sk_data_ready", "sock_send_length", "tcp_sendmsg_locked"],
    {"tcp_data_ready", "tcp_first_send"},
)
OF_6_12 = ["tcp_sendmsg_locked"], set[str]()
MEMBERS = ("bpf_htab.ma", "bpf_verifier_state.may_goto_depth")
OLDER = f"""
import runpy, sys
from offwake.recorder.kernel.btf import Btf

def arguments(btf, name, of_this_kernel=Btf.tracepoint_arguments):
    if name in lacking:
        raise KeyError(f"this kernel has no tracepoint {{name}}")
    return of_this_kernel(btf, name)

def has_member(btf, path, of_this_kernel=Btf.has_member):
    return path not in {MEMBERS} and of_this_kernel(btf, path)

def function(btf, name, of_this_kernel=Btf.function):
    if name in lacking:
        raise KeyError(f"this kernel has no {{name}}")
    return of_this_kernel(btf, name)

lacking = sys.argv.pop(1).split(",")
Btf.tracepoint_arguments, Btf.has_member, Btf.function = arguments, has_member, function
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
WORK = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
asking = socket.create_connection(listener.getsockname())
answering, _ = listener.accept()
asking.send(bytes(100)), answering.recv(100)
asking.close(), answering.close()
with open(sys.argv[1], "wb") as file:
    for _ in range(3):
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())
print(listener.getsockname()[1])
"""


@pytest.mark.parametrize(("tracepoints", "lacking"), [OF_6_1, OF_6_12], ids=["6.1", "6.12"])
def test_what_older_kernels_lack_costs_nothing_else(tracepoints: list[str], lacking: set[str], tmp_path: Path) -> None:
    path, under = tmp_path / "x.offwake", (sys.executable, "-c", OLDER, ",".join(tracepoints))
    recorded = offwake("record", "-o", path, "--", sys.executable, "-c", WORK, tmp_path / "written", under=under)
    assert recorded.returncode == 0, recorded.stderr
    info = ask("info", path, "--json")
    assert set(info["unavailable"]) == lacking | {"block_io_start"} & set(tracepoints)
    assert {source["name"] for source in info["sources"] if source["events"]} >= {"block", "sched", "tcp"}
    port = int(recorded.stdout)
    sessions = ask("table", path, "--of", "tcp-sessions", "--json")
    ends = [row for row in sessions if port in (row["local_port"], row["remote_port"])]
    assert len(ends) == 2 and all(row["pid"] for row in ends)
    seen = {event["event"] for event in events(path) if event.get("tid") == ends[0]["pid"]}
    assert {"tcp_first_send", "tcp_first_receive"} - seen == lacking & {"tcp_first_send"}
    requests = ask("table", path, "--of", "block-io", "--json")
    assert any(row["service_ns"] for row in requests)
