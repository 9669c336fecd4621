"""offwake verify: what it prints, and how it exits."""

import argparse
import json
from pathlib import Path

import pytest

from offwake.commands import verify
from tests.format.builders import as_file, headers, small_recording

WHOLE = small_recording()


def verified(data: bytes, *options: str) -> int:
    parser = argparse.ArgumentParser()
    verify.add_arguments(parser)
    with as_file(data) as path:
        return verify.run(parser.parse_args([str(path), *options]))


def test_a_whole_recording(capsys: pytest.CaptureFixture[str]) -> None:
    assert verified(WHOLE) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.endswith(f"{len(headers(WHOLE))} blocks, {len(WHOLE)} bytes, ended: whole")


def test_a_recording_that_was_not_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert verified(WHOLE[:-32]) == 4
    assert "not ended" in capsys.readouterr().out


def test_damage_is_told_by_place(capsys: pytest.CaptureFixture[str]) -> None:
    hit = headers(WHOLE)[3]
    broken = bytearray(WHOLE)
    broken[hit.frame_offset + 20] ^= 1
    assert verified(bytes(broken)) == 4
    first, last = capsys.readouterr().out.splitlines()
    length = hit.end - hit.offset
    assert first == f"byte {hit.offset}: {length} bytes: the {hit} is lost: the payload's checksum is wrong"
    assert last.endswith("NOT whole: 1 damaged or missing")


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    hit = headers(WHOLE)[3]
    assert verified(WHOLE[: hit.offset] + WHOLE[hit.end :], "--json") == 4
    document = json.loads(capsys.readouterr().out)
    assert not document["whole"]
    assert document["blocks"] == len(headers(WHOLE)) - 1
    assert document["damage"][0] == {
        "offset": hit.offset,
        "length": 0,
        "what": "1 block missing before the EVENTS block of CPU 1",
    }


def test_a_terminal_escape_in_a_recording_is_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for position in range(0, len(WHOLE) - 8, 16):
        verified(WHOLE[:position] + b"\x1b]0;owned\x07"[:8] + WHOLE[position + 8 :])
    assert capsys.readouterr().out.replace("\n", "").isprintable()
