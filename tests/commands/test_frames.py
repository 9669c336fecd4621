"""`--hide`, `--sandwich` and `offwake frames`: what they give is the whole, filtered and added up by hand."""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from offwake.cli import main

DEMO = Path(__file__).parents[2] / "examples" / "demo.offwake"
Stacks = dict[tuple[str, ...], int]


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([words[0], str(DEMO), *words[1:]]) == 0
    return capsys.readouterr().out


def stacks(capsys: pytest.CaptureFixture[str], *options: str) -> Stacks:
    document = json.loads(ask(capsys, "folded", "--json", *options))
    return {tuple(stack["frames"]): stack["value_ns"] for stack in document["stacks"]}


def frames(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, dict[str, Any]]:
    return {row["frame"]: row for row in json.loads(ask(capsys, "frames", "--json", *options))}


@pytest.mark.parametrize("view", ["off-cpu", "off-wake", "on-cpu"])
def test_frames_are_added_up_with_recursion_counted_once(capsys: pytest.CaptureFixture[str], view: str) -> None:
    whole = stacks(capsys, "--view", view)
    self_ns, total_ns = defaultdict[str, int](int), defaultdict[str, int](int)
    for stack, value_ns in whole.items():
        self_ns[stack[-1]] += value_ns
        for name in {"all", *stack}:
            total_ns[name] += value_ns
    found = frames(capsys, "--view", view)
    assert {name: row["total_ns"] for name, row in found.items()} == total_ns
    assert {name: row["self_ns"] for name, row in found.items() if row["self_ns"]} == self_ns
    assert [row["self_ns"] for row in found.values()] == sorted(self_ns.values(), reverse=True) + [0] * (
        len(total_ns) - len(self_ns)
    )


def test_frames_are_printed_as_text_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    found = frames(capsys)
    assert len(ask(capsys, "frames").splitlines()) == len(found) + 1
    header, first, *_ = ask(capsys, "frames", "--csv").splitlines()
    assert header == "self_ns,self_share,total_ns,total_share,frame"
    assert int(first.split(",")[0]) == max(row["self_ns"] for row in found.values())


@pytest.mark.parametrize("view", ["off-cpu", "off-wake", "chain"])
def test_hidden_frames_are_left_out_and_nothing_else(capsys: pytest.CaptureFixture[str], view: str) -> None:
    expected = defaultdict[tuple[str, ...], int](int)
    for stack, value_ns in stacks(capsys, "--view", view).items():
        expected[tuple(name for name in stack if not re.search(r"_\[k\]$|^_", name))] += value_ns
    assert stacks(capsys, "--view", view, "--hide", r"_\[k\]$|^_") == expected


def test_a_sandwich_has_the_stacks_with_its_frame(capsys: pytest.CaptureFixture[str]) -> None:
    name = "do_syscall_64_[k]"
    expected = {stack: value_ns for stack, value_ns in stacks(capsys).items() if name in stack}
    assert expected and stacks(capsys, "--sandwich", name) == expected
    found = frames(capsys, "--sandwich", name)
    assert found[name]["total_ns"] == sum(expected.values()) and found[name]["total_share"] == 1
    svg = ask(capsys, "flamegraph", "--sandwich", name)
    assert f"What called {name}, and what it called" in svg and f"--sandwich &#39;{name}&#39;" in svg


def test_a_frame_that_is_nowhere_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frames", str(DEMO), "--sandwich", "do_syscall_64"]) == 0
    assert "no selected stack has a frame called 'do_syscall_64'" in capsys.readouterr().err


def test_a_picture_is_turned_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    turned = {way: json.loads(re.findall("<metadata>(.*?)</metadata>", ask(capsys, "flamegraph", way))[0].replace(
        "&quot;", '"'))["icicle"] for way in ("--icicle", "--flame")}
    assert turned == {"--icicle": True, "--flame": False}
