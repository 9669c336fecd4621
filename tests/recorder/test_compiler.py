"""What was compiled is kept for the next time, where only root can write; and nothing else is taken for it."""

import hashlib
import os
from pathlib import Path

import pytest

from offwake.recorder import compiler
from offwake.recorder.compiler import Compiled, MapSpec, compiled

PACKED = b'{"maps": [["ring", 4, 4, 4, 2, 0, 5]], "functions": {"on_switch": "9500000000000000"}}'
MADE = Compiled((MapSpec("ring", 4, 4, 4, 2, 0, 5),), {"on_switch": bytes.fromhex("9500000000000000")})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The texts that were compiled; what is made of them is kept in a folder of the test's."""
    texts: list[str] = []

    def make(text: str) -> bytes:
        texts.append(text)
        return PACKED

    monkeypatch.setattr(compiler, "_in_child", make)
    monkeypatch.setattr(compiler, "CACHE", tmp_path / "cache")
    return texts


def test_the_same_text_is_compiled_once(made: list[str], tmp_path: Path) -> None:
    assert [compiled("one"), compiled("two"), compiled("one")] == [MADE] * 3
    if os.geteuid() == 0:  # what somebody else keeps is not taken
        assert made == ["one", "two"]
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "cache").iterdir()}
    assert modes == {0o600} and (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["cut", "changed", "of another version", "anybody's", "link", "anybody's folder"])
def test_what_is_not_just_as_it_was_kept_is_made_anew(made: list[str], tmp_path: Path, damage: str) -> None:
    compiled("text")
    (kept,) = (tmp_path / "cache").iterdir()
    whole = kept.read_bytes()
    if damage == "cut":
        kept.write_bytes(whole[:-1])
    elif damage == "changed":
        kept.write_bytes(whole[:-3] + b"1" + whole[-2:])
    elif damage == "of another version":
        kept.write_bytes(hashlib.sha256(b"{}").digest() + b"{}")
    elif damage == "anybody's":
        kept.chmod(0o666)
    elif damage == "link":
        kept.rename(tmp_path / "elsewhere")
        kept.symlink_to(tmp_path / "elsewhere")
    else:
        kept.parent.chmod(0o777)
    assert compiled("text") == MADE and made == ["text", "text"]


def test_only_so_many_are_kept(made: list[str], tmp_path: Path) -> None:
    for number in range(compiler.CACHED_AT_MOST + 5):
        compiled(str(number))
    assert len(list((tmp_path / "cache").iterdir())) == compiler.CACHED_AT_MOST


def test_no_room_to_keep_it_is_no_reason_to_fail(made: list[str], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert compiled("text") == MADE
