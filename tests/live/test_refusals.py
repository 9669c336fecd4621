"""What cannot be done is refused in one line that says what, where and what to do, with the right exit code."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.live.harness import Recorded, offwake

NOBODY = "65534"
WITHOUT_ROOT = (
    # Not root, but allowed to read: the interpreter may live in a folder that only root can enter.
    *("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
)
WITHOUT_BCC = (  # nor what it has made before
    *("unshare", "--mount", "sh", "-c"),
    'mount -t tmpfs tmpfs /usr/lib/python3/dist-packages && mount -t tmpfs tmpfs /run && exec "$@"',
    "sh",
)


def assert_refused(arguments: list[str | Path], code: int, says: list[str], under: tuple[str, ...] = ()) -> None:
    result = offwake(*arguments, under=under)
    assert result.returncode == code, result.stderr
    [line] = result.stderr.splitlines()
    assert all(word in line for word in says), line


def test_recording_without_root() -> None:
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)  # so that only the missing privilege can be what stops it
        assert_refused(
            ["record", "-o", f"{folder}/x.offwake", "--duration", "1"], 1, ["root", "sudo"], under=WITHOUT_ROOT
        )
        assert not os.listdir(folder)


def test_recording_without_bcc(tmp_path: Path) -> None:
    arguments: list[str | Path] = ["record", "-o", tmp_path / "x.offwake", "--duration", "1"]
    assert_refused(arguments, 1, ["python3-bpfcc"], under=WITHOUT_BCC)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.offwake", "x.offwake.part"])
@pytest.mark.parametrize("kind", ["file", "link to nothing", "link to a file", "hard link", "FIFO", "folder"])
def test_output_that_exists(kind: str, name: str, tmp_path: Path) -> None:
    """Whatever bears one of the two names, it is neither written to, nor followed, nor replaced, nor removed."""
    (tmp_path / "precious").write_text("precious")
    taken = tmp_path / name
    make: dict[str, Callable[[], None]] = {
        "file": lambda: taken.touch(),
        "link to nothing": lambda: taken.symlink_to(tmp_path / "elsewhere"),
        "link to a file": lambda: taken.symlink_to(tmp_path / "precious"),
        "hard link": lambda: taken.hardlink_to(tmp_path / "precious"),
        "FIFO": lambda: os.mkfifo(taken),
        "folder": lambda: taken.mkdir(),
    }
    make[kind]()
    before = taken.lstat()
    assert_refused(["record", "-o", tmp_path / "x.offwake", "--duration", "1"], 1, [str(taken), "exists already"])
    assert taken.lstat() == before
    assert (tmp_path / "precious").read_text() == "precious"
    assert {*tmp_path.iterdir()} == {tmp_path / "precious", taken}


def test_output_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    output = tmp_path / "missing" / "x.offwake"
    assert_refused(["record", "-o", output, "--duration", "1"], 1, [str(output)])


def test_output_in_a_folder_that_cannot_be_written() -> None:
    assert_refused(["record", "-o", "/proc/x.offwake", "--duration", "1"], 1, ["/proc/x.offwake"])


def test_command_that_is_not_there(tmp_path: Path) -> None:
    """Nothing was started, so there is no status of a command to give, and no recording of nothing is left."""
    arguments: list[str | Path] = ["record", "-o", tmp_path / "x.offwake", "--", "no-such-command"]
    assert_refused(arguments, 1, ["no-such-command", "not found"])
    assert not list(tmp_path.iterdir())


def test_unknown_source(tmp_path: Path) -> None:
    arguments: list[str | Path] = ["record", "-o", tmp_path / "x.offwake", "--sources", "sched,gossip"]
    assert_refused(arguments, 2, ["gossip", "block"])


def test_input_that_is_no_recording(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a recording\n" * 100)
    assert_refused(["info", text], 1, [str(text)])


def test_input_that_is_not_there(tmp_path: Path) -> None:
    assert_refused(["info", tmp_path / "x.offwake"], 1, [str(tmp_path / "x.offwake")])


def test_input_that_is_truncated(recorded: Callable[[str], Recorded], tmp_path: Path) -> None:
    whole = recorded("pipe_chain").path.read_bytes()
    truncated = tmp_path / "truncated.offwake"
    truncated.write_bytes(whole[: len(whole) * 2 // 3])
    result = offwake("verify", truncated)
    assert result.returncode == 4
    assert os.fspath(truncated) in result.stdout + result.stderr


def test_unknown_view(recorded: Callable[[str], Recorded]) -> None:
    assert_refused(["folded", recorded("pipe_chain").path, "--view", "sideways"], 2, ["sideways", "off-wake"])
