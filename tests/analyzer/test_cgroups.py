"""Cgroups: where a process is, from what was known when, and what people call it."""

from typing import Any

import pytest

from offwake.analyzer.cgroups import Cgroups
from offwake.analyzer.shapes import require_keyframe
from offwake.errors import DamagedRecording
from tests.analyzer.recorded import recorded
from tests.events import Fork, Known, Trace

ID = "0123456789ab" + "cdef" * 13
POD = "1a2b3c4d-1111-2222-3333-444455556666"
SLICE = f"kubepods-burstable-pod{POD.replace('-', '_')}.slice"

LABELS = {
    f"/docker/{ID}": "docker:0123456789ab",
    f"/system.slice/docker-{ID}.scope": "docker:0123456789ab",
    f"/system.slice/docker-{ID}.scope/init.scope": "docker:0123456789ab/init.scope",
    f"/kubepods.slice/kubepods-burstable.slice/{SLICE}/cri-containerd-{ID}.scope": "pod:1a2b3c4d/containerd:0123456789ab",
    f"/kubepods.slice/{SLICE}/crio-{ID}.scope/container": "pod:1a2b3c4d/cri-o:0123456789ab",
    f"/kubepods/besteffort/pod{POD}/{ID}": "pod:1a2b3c4d/0123456789ab",
    f"/kubepods/pod{POD.replace('-', '')}/crio-{ID}": "pod:1a2b3c4d/cri-o:0123456789ab",
    f"/machine.slice/libpod-{ID}.scope/container": "podman:0123456789ab",
    f"/machine.slice/libpod-conmon-{ID}.scope": "libpod-conmon:0123456789ab",
    f"/garden/{ID}": "garden:0123456789ab",
    f"/process_api/{ID[:32]}": "process_api:0123456789ab",
    "/lxc.payload.web1/system.slice/nginx.service": "lxc:web1/nginx.service",
    "/lxc/101/ns/init.scope": "lxc:101/init.scope",
    r"/machine.slice/machine-qemu\x2d1\x2dvm.scope": "machine:qemu-1-vm",
    r"/system.slice/systemd-fsck@dev-disk-by\x2duuid-1.service": "systemd-fsck@dev-disk-by-uuid-1.service",
    r"/system.slice/system-caf\xc3\xa9.slice/caf\xc3\xa9@1.service": "café@1.service",
    "/system.slice/nginx.service/workers": "nginx.service",
    "/../../system.slice/ssh.service": "ssh.service",
    "/user.slice/user-1000.slice/session-3.scope": "user:1000/session:3",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/gnome-shell.scope": "user:1000/gnome-shell.scope",
    "/init.scope": "init.scope",
    "/system.slice": "system.slice",
    f"/batch/job {ID}/step": "batch/job 0123456789ab/step",
    "/": "/",
    "": "",
    "//no//path": "no//path",
    "/\n": "\n",
}


@pytest.mark.parametrize("path", LABELS, ids=LABELS.values())
def test_what_people_call_a_cgroup(path: str) -> None:
    assert Cgroups.label(path) == LABELS[path]


def test_a_child_is_where_its_parent_is_unless_it_was_seen_elsewhere_at_the_end() -> None:
    cgroups = Cgroups(at_begin=[["/a", [1, 2]]], at_end=[["/a", [1]], ["/b", [2, 3]], ["/c", [9]]])
    for parent, child in ((1, 3), (3, 4), (1, 5), (7, 8)):
        cgroups.fork(parent, child)
    paths = {tgid: cgroups.path(tgid) for tgid in range(1, 10)}
    assert paths == {
        1: "/a",
        2: "/a",  # moved meanwhile: it was there at the beginning, and the keyframe's word holds
        3: "/b",  # born in /a, and moved
        4: "/b",  # born of one that had moved, as far as anyone knows, and gone by the end
        5: "/a",
        6: "",
        7: "",
        8: "",  # born of one that nobody has heard of
        9: "/c",  # whose birth was lost
    }


def test_an_id_that_was_given_again_is_where_its_new_parent_is() -> None:
    cgroups = Cgroups(at_begin=[["/a", [1]], ["/b", [2]]], at_end=[["/a", [1]]])
    cgroups.fork(1, 2)
    assert cgroups.path(2) == "/a"


def test_a_recording_says_where_its_processes_were() -> None:
    trace = Trace(
        threads=[Known(7, 7, "seven", "R"), Known(8, 8, "eight")],
        events=[Fork(1_000_000_100, 0, 7, 9, 9), Fork(1_000_000_200, 0, 7, 10, 10), Fork(1_000_000_300, 0, 8, 11, 8)],
        cgroups=[("/a", [7]), ("/b", [8])],
        cgroups_at_end=[("/a", [7, 9]), ("/c", [8, 10])],
    )
    with recorded(trace) as recording:
        replay = recording.replay()
        for _ in replay:
            pass
    assert [replay.cgroups.path(tgid) for tgid in (7, 8, 9, 10, 11)] == ["/a", "/b", "/a", "/c", ""]


def test_a_recording_of_before_cgroups_were_recorded() -> None:
    with recorded(Trace()) as recording:
        older = {key: value for key, value in recording.keyframe.items() if key != "cgroups"}
    assert require_keyframe(older, "keyframe")["cgroups"] == []


@pytest.mark.parametrize("strange", [{}, [["/a"]], [["/a", 1]], [[1, [1]]], [["/a", ["1"]]], [["/a", [-1]]]])
def test_strange_cgroups_are_refused(strange: Any) -> None:
    with pytest.raises(DamagedRecording, match=r"keyframe\.cgroups"):
        recorded(Trace(cgroups=strange))
    with pytest.raises(DamagedRecording, match=r"snapshot\.cgroups"):
        recorded(Trace(cgroups_at_end=strange))
