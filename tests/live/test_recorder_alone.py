"""offwake-recorder.pyz: one file that records with the distribution's Python and packages, and nothing else."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from offwake import zipapp
from offwake.zipapp import build
from tests.live.harness import Recorded, ask, offwake

DEBIANS = Path("/usr/bin/python3")
PACKAGES = Path("/usr/lib/python3/dist-packages")
TELL_IMPORTS = """
import json, runpy, sys, sysconfig
before = set(sys.modules)
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
places = {name: getattr(sys.modules[name], "__file__", None) for name in sys.modules if name not in before}
print(json.dumps([sysconfig.get_paths()["stdlib"], places]))
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorder as one file, in a folder that has nothing of offwake."""
    archive = tmp_path_factory.mktemp("alone") / "offwake-recorder.pyz"
    build(archive)
    return archive


def run(*command: str | Path, temporary: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **({"TMPDIR": os.fspath(temporary)} if temporary else {})}
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=120)


def test_the_same_sources_give_the_same_bytes(alone: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.pyz"
    build(again)
    assert again.read_bytes() == alone.read_bytes()
    assert os.access(again, os.X_OK)


def test_what_it_records_is_whole_and_has_names(alone: Path, workload: Callable[[str], Path], tmp_path: Path) -> None:
    """Also when the program is gone; and the headers that it unpacked for the compiler are gone."""
    program, path, temporary = tmp_path / "program", tmp_path / "x.offwake", tmp_path / "tmp"
    program.write_bytes(workload("pipe_chain").read_bytes())
    program.chmod(0o755)
    temporary.mkdir()
    result = run(alone, "record", "-o", path, "--", program, temporary=temporary)
    assert result.returncode == 0, result.stderr
    program.unlink()
    assert not list(temporary.iterdir())
    assert run(alone, "verify", path).returncode == 0
    assert ask("info", path, "--json")["complete"]
    recorded = Recorded(path, json.loads(result.stdout))
    frames = {frame for stack in recorded.stacks("off-cpu") for frame in stack["frames"]}
    assert "main" in frames and any(frame.endswith("pipe_read_[k]") for frame in frames)


def test_a_file_that_was_cut_off_is_recovered_as_offwake_does(
    alone: Path, recorded: Callable[[str], Recorded], tmp_path: Path
) -> None:
    """With the distribution's msgpack and zstandard, which are older than pip's."""
    whole, part = recorded("pipe_chain").path.read_bytes(), tmp_path / "part"
    part.write_bytes(whole[: len(whole) * 2 // 3])
    assert run(alone, "verify", part).stdout == offwake("verify", part).stdout
    done = [
        run(alone, "recover", part, "-o", tmp_path / "alone"),
        offwake("recover", part, "-o", tmp_path / "installed"),
    ]
    assert [result.returncode for result in done] == [0, 0]
    told = [json.loads(offwake("info", tmp_path / by, "--json").stdout) for by in ("alone", "installed")]
    assert [info.pop("bytes") > 0 for info in told] == [True, True]  # two versions of zstd compress differently
    assert told[0] == told[1]
    assert told[0]["events"] > 0


def test_it_imports_nothing_but_what_a_distribution_packages(alone: Path, tmp_path: Path) -> None:
    told = run(DEBIANS, "-I", "-c", TELL_IMPORTS, alone, "record", "-o", tmp_path / "x.offwake", "--", "true")
    assert told.returncode == 0, told.stderr
    library, places = json.loads(told.stdout)
    own = {name for name, place in places.items() if place and Path(place).is_relative_to(alone)}
    packaged = {name for name, place in places.items() if place and Path(place).is_relative_to(PACKAGES)}
    standard = {name for name, place in places.items() if place is None or Path(place).is_relative_to(library)}
    assert "offwake.recorder.session" in own
    assert {name.partition(".")[0] for name in packaged} == {"msgpack", "zstandard"}, "bcc is the compiling child's"
    assert own | packaged | standard == {*places}


def test_it_has_the_commands_that_record_and_says_where_the_others_are(alone: Path, tmp_path: Path) -> None:
    listed = run(alone).stdout
    assert all(f"\n    {name} " in listed for name in zipapp.COMMANDS)
    assert "flamegraph" not in listed
    refused = run(alone, "info", tmp_path / "x.offwake")
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "offwake: info: this is the recorder alone: copy the recording to where offwake is installed, and analyze it there"
    ]


def test_a_package_that_is_missing_is_asked_for_by_name(alone: Path, tmp_path: Path) -> None:
    """By the recorder, and by the doctor, who needs none of them."""
    (tmp_path / "bcc").mkdir()
    hide = f'mount --bind {PACKAGES}/bcc "$1"/bcc && mount --rbind "$1" {PACKAGES} && shift && exec "$@"'
    under = ("unshare", "--mount", "sh", "-c", hide, "sh", tmp_path)
    lacking = ("msgpack", "zstandard")
    asks = {name: f"Python has no {name}; install it with `apt-get install python3-{name}`" for name in lacking}
    refused = run(*under, alone, "record", "-o", tmp_path / "x.offwake", "--duration", "1")
    assert refused.returncode == 1 and refused.stderr in [f"offwake: {words}\n" for words in asks.values()]
    told = run(*under, alone, "doctor", "--json")
    assert told.returncode == 1
    checks = {check["name"]: check for check in json.loads(told.stdout)["checks"]}
    assert {name for name, check in checks.items() if check["verdict"] == "missing"} == {*lacking}
    assert {name: f"{checks[name]['says']}; {checks[name]['mend']}" for name in lacking} == asks
    assert checks["bcc"]["verdict"] == "ok"


def test_its_doctor_finds_what_offwake_finds(alone: Path) -> None:
    def verdicts(result: subprocess.CompletedProcess[str]) -> dict[str, str]:
        return {check["name"]: check["verdict"] for check in json.loads(result.stdout)["checks"]}

    assert verdicts(run(alone, "doctor", "--json")) == verdicts(offwake("doctor", "--json"))
