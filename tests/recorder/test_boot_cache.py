"""What was made is kept for the next time, where only root can write; and nothing else is taken for it."""

import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from offwake.recorder.kernel import boot_cache
from offwake.recorder.kernel.boot_cache import kept

Ask = Callable[[str], bytes]


@pytest.fixture
def made() -> list[str]:
    """What had to be made."""
    return []


@pytest.fixture
def ask(made: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """What is made of a text is kept in a folder of the test's."""
    monkeypatch.setattr(boot_cache, "CACHE", tmp_path / "cache")

    def make(text: str) -> bytes:
        made.append(text)
        return f"made of {text}".encode()

    return lambda text: kept(text, lambda: make(text))


def test_the_same_is_made_once(ask: Ask, made: list[str], tmp_path: Path) -> None:
    assert [ask("one"), ask("two"), ask("one")] == [b"made of one", b"made of two", b"made of one"]
    if os.geteuid() == 0:  # what somebody else keeps is not taken
        assert made == ["one", "two"]
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "cache").iterdir()}
    assert modes == {0o600} and (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["cut", "changed", "anybody's", "link", "anybody's folder"])
def test_what_is_not_just_as_it_was_kept_is_made_anew(ask: Ask, made: list[str], tmp_path: Path, damage: str) -> None:
    ask("text")
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    if damage == "cut":
        file.write_bytes(whole[:-1])
    elif damage == "changed":
        file.write_bytes(whole[:-3] + b"1" + whole[-2:])
    elif damage == "anybody's":
        file.chmod(0o666)
    elif damage == "link":
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    else:
        file.parent.chmod(0o777)
    assert ask("text") == b"made of text" and made == ["text", "text"]


@pytest.mark.parametrize("other", ["__version__", "release"])
def test_of_another_version_or_kernel_it_is_made_anew(
    ask: Ask, made: list[str], monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    ask("text")
    if other == "release":
        monkeypatch.setattr(platform, "release", lambda: "7.0")
    else:
        monkeypatch.setattr(boot_cache, "__version__", "99")
    assert ask("text") == b"made of text" and made == ["text", "text"]


def test_only_so_many_are_kept(ask: Ask, tmp_path: Path) -> None:
    for number in range(boot_cache.CACHED_AT_MOST + 5):
        ask(str(number))
    assert len(list((tmp_path / "cache").iterdir())) == boot_cache.CACHED_AT_MOST


def test_no_room_to_keep_it_is_no_reason_to_fail(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert ask("text") == b"made of text"
