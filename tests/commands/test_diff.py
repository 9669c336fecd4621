"""`offwake diff`: what it prints agrees with `folded` of both sides, and errors say which file they are about."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from offwake.analyzer import query
from offwake.analyzer.recording import Recording
from offwake.analyzer.select import Selection
from offwake.cli import main
from tests.programs import Block, Program, Run, Wake, Workload
from tests.simulator import Simulator
from tests.traces import write_trace

DEMO = Path(__file__).parents[2] / "examples" / "demo.offwake"
HALVES = ("--before", "0-0.4", "--after", "0.4-0.8")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two recordings of one program; in the second one it waits for something else as well."""
    folder, files = tmp_path_factory.mktemp("two"), []
    for name, block in (("before", Block()), ("after", Block(timeout_ns=900, listens=False))):
        programs = (
            Program("nginx", (Block(), Run(40))),
            Program("postgres", (Run(120), Wake(0), Block(timeout_ns=200, listens=False))),
            Program("worker", (Run(60), Wake(1), block)),
        )
        workload = Workload(programs=programs, cpus=2, seed=5, warm_up_ns=500, length_ns=100_000)
        files.append(write_trace(folder / f"{name}.offwake", Simulator(workload).trace))
    return files[0], files[1]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["diff", *map(str, arguments)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(capsys, *arguments, "--json"))
    return found


def folded(capsys: pytest.CaptureFixture[str], file: Path, *options: str) -> dict[tuple[str, ...], int]:
    assert main(["folded", str(file), "--json", *options]) == 0
    stacks = json.loads(capsys.readouterr().out)["stacks"]
    return {tuple(stack["frames"]): stack["value_ns"] for stack in stacks if stack["value_ns"]}


@pytest.mark.parametrize("view", query.COMPARABLE)
def test_both_columns_are_the_views_of_both_files(
    capsys: pytest.CaptureFixture[str], two: tuple[Path, Path], view: str
) -> None:
    options = ("--view", view, "--all")
    found = document(capsys, *two, *options, "--normalize", "none")
    for column, file in zip(("before", "after"), two, strict=True):
        mine = {tuple(stack["frames"]): stack[f"{column}_ns"] for stack in found["stacks"] if stack[f"{column}_ns"]}
        assert mine == folded(capsys, file, *options)
        assert found[f"{column}_total_ns"] == sum(mine.values())
    assert all(stack["delta_ns"] == stack["after_ns"] - stack["before_ns"] for stack in found["stacks"])
    lines = run(capsys, *two, *options, "--normalize", "none", "--folded").splitlines()
    assert len(lines) == len(found["stacks"])
    assert [line.rsplit(" ", 2)[1:] for line in lines] == [
        [str(round(stack["before_ns"] / 1000)), str(round(stack["after_ns"] / 1000))] for stack in found["stacks"]
    ]


@pytest.mark.parametrize("view", sorted(query.VIEWS.keys() - query.COMPARABLE.keys()))
def test_what_counts_is_not_compared_and_that_is_said(capsys: pytest.CaptureFixture[str], view: str) -> None:
    with Recording.open(DEMO) as recording:
        assert query.profile(recording, view, Selection()).unit != "ns"
    assert main(["diff", str(DEMO), *HALVES, "--view", view]) == 2
    assert f"`offwake folded FILE --view {view}` gives the counts of each" in capsys.readouterr().err
    assert main(["diff", str(DEMO), "--view", "help"]) == 0
    assert f"{view} " not in capsys.readouterr().out


def test_two_times_of_one_file_are_what_is_selected_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, DEMO, *HALVES, "--view", "off-cpu", "--normalize", "none", "--all")
    for column, (begin, end) in (("before", ("0", "0.4")), ("after", ("0.4", "0.8"))):
        mine = folded(capsys, DEMO, "--view", "off-cpu", "--from", begin, "--to", end, "--all")
        assert found[f"{column}_total_ns"] == sum(mine.values())
    again = document(capsys, DEMO, DEMO, *HALVES, "--view", "off-cpu", "--normalize", "none", "--all")
    assert again == found


def test_modes(capsys: pytest.CaptureFixture[str]) -> None:
    plain, second, share = (document(capsys, DEMO, *HALVES, "--normalize", how) for how in ("none", "second", "share"))
    assert second["before_total_ns"] == pytest.approx(plain["before_total_ns"] / 0.4, abs=len(plain["stacks"]))
    assert share["before_total_ns"] == pytest.approx(1e9, abs=len(plain["stacks"]))
    assert [found["unit"] for found in (plain, second, share)] == ["ns", "ns/s", "1e-9"]


def test_what_is_hidden_and_chosen_of_stacks_is_so_in_each_slice(capsys: pytest.CaptureFixture[str]) -> None:
    """Then every frame is tested on just what it weighs: the mean over slices is the whole."""
    options = ("--view", "off-cpu", "--grep", "shop", "--hide", "schedule|^do_")
    found = document(capsys, DEMO, *HALVES, *options, "--normalize", "none")
    for column, (begin, end) in (("before", ("0", "0.4")), ("after", ("0.4", "0.8"))):
        mine = folded(capsys, DEMO, *options, "--from", begin, "--to", end)
        shown = {tuple(stack["frames"]): stack[f"{column}_ns"] for stack in found["stacks"] if stack[f"{column}_ns"]}
        assert mine and shown.keys() == mine.keys()


def test_a_recording_does_not_differ_from_itself(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    copy = tmp_path / "copy.offwake"
    copy.write_bytes(DEMO.read_bytes())
    found = document(capsys, DEMO, copy, "--view", "wall")
    assert found["tested"] > 10 and not any(frame["total"]["significant"] for frame in found["frames"])
    assert found["notices"] == []
    text = run(capsys, DEMO, copy)
    assert text.count("nothing that stands out") == 2


def test_the_picture_is_strict_xml_and_says_what_is_compared(
    capsys: pytest.CaptureFixture[str], two: tuple[Path, Path], tmp_path: Path
) -> None:
    picture = tmp_path / "diff.svg"
    run(capsys, *two, "--view", "off-cpu", "--normalize", "share", "--layout", "after", "-o", picture)
    text = picture.read_text()
    ElementTree.fromstring(text)
    assert "off-cpu, by share of all: before.offwake → after.offwake" in text
    assert "widths are after" in text and "cannot be told apart at 1 %" in text


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["{demo}"], 2, "say which two times"),
        (["{demo}", "{demo}"], 2, "say which two times"),
        (["{demo}", "--before", "0-1"], 2, "say which two times"),
        (["{demo}", "--before", "0-1", "--after", "x"], 2, "--after x: it takes two times"),
        (["{demo}", "--before", "3-1", "--after", "1-2"], 2, "--before 3-1: nothing lies between"),
        (["{demo}", "{whole}", "--before", "0-1", "--from", "2"], 2, "leave out --from and --to"),
        (["{demo}", "{whole}", "--normalize", "twice"], 2, "--normalize twice: there is no such choice"),
        (["{demo}", "{whole}", "--view", "nothing"], 2, "unknown view 'nothing'"),
        (["{demo}", "{whole}", "--sandwich", "main"], 2, "--sandwich says nothing to a comparison"),
        (["{demo}", "{whole}", "--json", "-o", "x.svg"], 2, "choose one"),
        (["{demo}", "{whole}", "-o", "{whole}"], 2, "that is the recording itself"),
        (["{demo}", "{missing}"], 1, "missing.offwake"),
        (["{missing}", "{demo}"], 1, "missing.offwake"),
        (["{demo}", "{foreign}"], 1, "foreign.offwake"),
    ],
)
def test_errors_say_what_is_wrong_and_where(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], status: int, words: str
) -> None:
    names = {"demo": DEMO, "whole": tmp_path / "whole.offwake", "missing": tmp_path / "missing.offwake"}
    names["foreign"] = tmp_path / "foreign.offwake"
    names["whole"].write_bytes(DEMO.read_bytes())
    names["foreign"].write_bytes(b"#!/bin/sh" * 100)
    assert main(["diff", *(argument.format(**names) for argument in arguments)]) == status
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1
    assert names["whole"].read_bytes() == DEMO.read_bytes()


def test_of_a_damaged_file_what_is_sound_is_compared(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cut = tmp_path / "cut.offwake"
    cut.write_bytes(DEMO.read_bytes()[: DEMO.stat().st_size * 2 // 3])
    assert main(["diff", str(DEMO), str(cut)]) == 4
    said = capsys.readouterr()
    assert "The recording after is not complete" in said.out
    assert f"{cut}: The recording was not ended" in said.err and f"{DEMO}: The recording" not in said.err


def test_nothing_in_common_is_said(capsys: pytest.CaptureFixture[str], two: tuple[Path, Path]) -> None:
    notices = document(capsys, two[0], DEMO, "--view", "off-cpu")["notices"]
    assert "The two have no stack in common." in notices
    assert any(notice.startswith("Different hosts") for notice in notices)
    assert main(["diff", str(two[0]), str(DEMO), "--comm", "worker"]) == 0
    assert "no thread's name fits 'worker'" in capsys.readouterr().err


def test_help_lists_the_views(capsys: pytest.CaptureFixture[str]) -> None:
    assert "off-wake" in run(capsys, DEMO, DEMO, "--view", "help")
