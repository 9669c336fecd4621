"""Which cgroup a process is in, and what people call it: the container, the pod or the service.

A path like /kubepods.slice/…/cri-containerd-<64 digits>.scope says it all, but nobody can read it.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Cgroups"]

Listed = Iterable[Sequence[Any]]
"""Paths, each with the processes in it, as keyframe and snapshot have them."""

_ID = r"([0-9a-f]{12})[0-9a-f]{20,52}"
_NAMES = [
    (re.compile(pattern + r"(?=/|\Z)"), name)
    for pattern, name in (
        (rf"/cri-containerd-{_ID}(?:\.scope)?", r"containerd:\1"),
        (rf"/crio-{_ID}(?:\.scope)?", r"cri-o:\1"),
        (rf"/libpod-{_ID}(?:\.scope)?", r"podman:\1"),
        (rf"/([^/]+)-{_ID}(?:\.scope)?", r"\1:\2"),  # docker-ID.scope, and whatever other runtime names its own so
        (r"/(?:[^/]*-)?pod([0-9a-f]{8})[-_0-9a-f]{24,28}(?:\.slice)?", r"pod:\1"),  # of its UID
        (r"/(?:lxc/|lxc\.payload[./])([^/]+)", r"lxc:\1"),
        (r"/machine-([^/]+)\.scope", r"machine:\1"),
        (r"/user-(\d+)\.slice", r"user:\1"),
        (r"/user@\d+\.service", ""),  # a user's own services lie below, the user's slice above
        (r"/session-([^/]+)\.scope", r"session:\1"),
        (r"/([^/]+\.(?:service|scope|socket|mount|swap))", r"\1"),
        (rf"/([^/]+)/{_ID}", r"\1:\2"),  # docker/ID
        (rf"/{_ID}", r"\1"),  # below a pod
        (r"/?[^/]*", ""),
    )
]
"""What a part of a path is called, by the first pattern that fits; a part that is called nothing only leads to others.

Sources: https://systemd.io/CGROUP_DELEGATION for units, the drivers `cgroupfs` and `systemd` of runc and crun for the rest.
"""
_LONG_ID = re.compile(rf"\b{_ID}\b")
_ESCAPED = re.compile(r"(?:\\x[0-9a-f]{2})+")


class Cgroups:
    """Cgroups of processes, by process id: where each was last known to be.

    One that was there at the beginning is where the keyframe found it. One born since is where the snapshot at the end
    found it; one that was gone by then, where its parent is.
    """

    def __init__(self, at_begin: Listed, at_end: Listed) -> None:
        self._at_end = _by_process(at_end)
        self._paths = self._at_end | _by_process(at_begin)

    def fork(self, parent: int, child: int) -> None:
        """Take note of a process's birth; births come in the order of time."""
        self._paths[child] = self._at_end.get(child, self.path(parent))

    def path(self, tgid: int) -> str:
        """Return the path of a process's cgroup, "" where it is not known."""
        return self._paths.get(tgid, "")

    @staticmethod
    def label(path: str) -> str:
        r"""Return what people call a cgroup, from the outermost name to the innermost.

        …/kubepods-pod1a2b3c4d_….slice/cri-containerd-0123456789ab….scope is pod:1a2b3c4d/containerd:0123456789ab,
        …/systemd-fsck\x2droot.service is systemd-fsck-root.service, …/user-1000.slice/session-3.scope is
        user:1000/session:3. A path that names nothing known is itself, with long ids cut to twelve digits.
        """
        names, at = [], 0
        while at < len(path):
            match, name = next((match, name) for pattern, name in _NAMES if (match := pattern.match(path, at)))
            names.append(match.expand(name))
            at = match.end()
        named = "/".join(filter(None, names)) or _LONG_ID.sub(r"\1", path.strip("/")) or path
        return _ESCAPED.sub(lambda match: bytes.fromhex(match[0].replace("\\x", "")).decode(errors="replace"), named)


def _by_process(listed: Listed) -> dict[int, str]:
    return {tgid: path for path, tgids, *_ in listed for tgid in tgids}
