"""Live tests record the running kernel. Without root or BPF the folder is skipped; with them nothing in it ever is."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.harness import Recorded, bpf_programs, record

SOURCES = Path(__file__).parents[1] / "workloads"
WRITERS = ("sync_writes", "request_chain")  # workloads that take the file to write as their argument


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("live")


@pytest.fixture(scope="session", autouse=True)
def machine() -> None:
    """Skip where the kernel cannot be recorded by this user."""
    if os.geteuid() != 0:
        pytest.skip("recording needs root")
    try:
        list(bpf_programs())
    except OSError as error:
        pytest.skip(f"recording needs BPF: {error}")


@pytest.fixture(scope="session")
def workload(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Build a program of tests/workloads with frame pointers; its path."""
    folder = tmp_path_factory.mktemp("workloads")

    def build(name: str) -> Path:
        program = folder / name
        if not program.exists():
            flags = ["-std=gnu11", "-O1", "-fno-omit-frame-pointer", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
            sources = [SOURCES / f"{name}.c", SOURCES / "measure.c"]
            subprocess.run(["gcc", *flags, "-o", program, *sources], check=True)
        return program

    return build


@pytest.fixture(scope="session")
def recorded(workload: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Recorded]:
    """Record a workload, once a session; tests on one workload look at one recording."""
    folder = tmp_path_factory.mktemp("recordings")
    on_disk = Path(__file__).parents[2] / "build"  # the temporary folder may be in memory
    on_disk.mkdir(exist_ok=True)
    done: dict[str, Recorded] = {}

    def once(name: str) -> Recorded:
        if name not in done:
            arguments = [on_disk / "written"] if name in WRITERS else []
            done[name] = record(folder / f"{name}.offwake", [workload(name), *arguments])
        return done[name]

    return once
