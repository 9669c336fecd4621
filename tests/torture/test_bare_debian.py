"""A Debian 12 with nothing but what the recorder asks for: what it records there is read here."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from offwake.zipapp import build
from tests.live.harness import ask

PACKAGES = ("python3", "python3-bpfcc", "python3-msgpack", "python3-zstandard")
INSIDE = (
    *("unshare", "--mount", "sh", "-c"),
    'mount --bind /proc "$0/proc" && mount --rbind /sys "$0/sys" && exec chroot "$0" /offwake-recorder.pyz "$@"',
)
WAITS = 101
WORKLOAD = f"""
import time
def doze():
    time.sleep(0.001)
for _ in range({WAITS}):
    doze()
"""


@pytest.fixture(scope="module")
def debian() -> Iterator[Path]:
    """The root of a Debian 12, with the recorder in it."""
    with TemporaryDirectory(dir="/var/tmp") as root:
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", root],
            check=True,
        )
        build(Path(root, "offwake-recorder.pyz"))
        yield Path(root)


def inside(debian: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*INSIDE, debian, *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.timeout(1800)
def test_the_doctor_finds_nothing_missing(debian: Path) -> None:
    result = inside(debian, "doctor", "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["msgpack"]["says"] == "1.0.3"
    assert checks["zstandard"]["says"] == "0.20.0"
    assert checks["user stacks"]["says"] == "whole"


@pytest.mark.timeout(1800)
def test_a_recording_made_there_is_whole_and_named_here(debian: Path) -> None:
    result = inside(debian, "record", "-o", "/x.offwake", "--", "python3", "-c", WORKLOAD)
    assert result.returncode == 0, result.stderr
    path = debian / "x.offwake"
    assert ask("info", path, "--json")["complete"]
    stacks = ask("folded", path, "--view", "off-cpu", "--comm", "python3", "--all", "--json")["stacks"]
    dozing = [stack for stack in stacks if "py::doze:<string>" in stack["frames"]]
    assert all({"Py_BytesMain", "clock_nanosleep", "do_nanosleep_[k]"} <= {*stack["frames"]} for stack in dozing)
    assert 0 < sum(stack["count"] for stack in dozing) <= WAITS
    assert not [*debian.glob("*.part"), *(debian / "tmp").iterdir()]
