"""`offwake idle` on the command line: what it says adds up to what pictures hide."""

import json
import re
from collections import Counter
from itertools import takewhile
from pathlib import Path

import pytest

from offwake.analyzer.idle import default_text
from offwake.cli import main

DEMO = Path(__file__).parents[2] / "examples" / "demo.offwake"


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("options", [(), ("--comm", "shop-*"), ("--from", "0.3", "--to", "0.7"), ("--min-us", "5000")])
def test_decisions_add_up_to_what_is_shown_and_hidden(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    decisions = json.loads(printed(capsys, "idle", DEMO, "--json", *options))
    stacks = json.loads(printed(capsys, "folded", DEMO, "--view", "off-wake", "--json", *options))
    by_verdict = {idle: sum(row["blocked_ns"] for row in decisions if row["idle"] is idle) for idle in (True, False)}
    assert by_verdict == {True: stacks["hidden_ns"], False: stacks["total_ns"]}
    assert all((row["rule"] is not None) == row["idle"] for row in decisions)


@pytest.mark.parametrize("pattern", ["futex", "^shop-", "nothing is called this"])
def test_a_pattern_chooses_the_decisions_whose_stacks_it_fits(capsys: pytest.CaptureFixture[str], pattern: str) -> None:
    decisions = json.loads(printed(capsys, "idle", DEMO, "--json", "--grep", pattern))
    stacks = json.loads(printed(capsys, "folded", DEMO, "--view", "off-wake", "--json", "--all"))["stacks"]
    waited: Counter[tuple[str, ...]] = Counter()
    for stack in stacks:
        waited[tuple(takewhile("--".__ne__, stack["frames"]))] += stack["value_ns"]
    fitting = [ns for frames, ns in waited.items() if any(re.search(pattern, frame) for frame in frames)]
    assert sum(row["blocked_ns"] for row in decisions) == sum(fitting)
    assert all(re.search(pattern, " ".join((row["comm"], *row["stack"]))) for row in decisions)


def test_the_default_rules_are_printed_and_mean_the_same_when_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rules = printed(capsys, "idle", "--rules")
    assert rules == default_text()
    (tmp_path / "rules.toml").write_text(rules)
    again = printed(capsys, "idle", DEMO, "--idle-rules", tmp_path / "rules.toml")
    assert again == printed(capsys, "idle", DEMO)


def test_the_demos_requests_are_not_idle(capsys: pytest.CaptureFixture[str]) -> None:
    decisions = json.loads(printed(capsys, "idle", DEMO, "--comm", "shop-*", "--json"))
    idle = {(row["comm"], row["stack"][-1], row["rule"]) for row in decisions if row["idle"]}
    assert idle == {("shop-accept", "inet_csk_accept_[k]", "accepting connections")}


def test_text_explains_both_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "idle", DEMO)
    assert "Idle: kernel thread" in text and "Not idle" in text
    assert "waited for by shop-server" in text


def test_without_a_file_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["idle"]) == 2
    assert "FILE is missing" in capsys.readouterr().err


def test_a_picture_by_other_rules_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rules = tmp_path / "none.toml"
    rules.touch()
    picture = printed(capsys, "flamegraph", DEMO, "--idle-rules", rules)
    assert f"--idle-rules {rules}" in picture
