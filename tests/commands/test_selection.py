"""The selection on the command line: each option selects what the whole, filtered by hand, says it should."""

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from offwake.analyzer import query
from offwake.analyzer.roots import BY
from offwake.cli import main

DEMO = Path(__file__).parents[2] / "examples" / "demo.offwake"
STACK_VIEWS = ("off-cpu", "off-wake", "wakeup", "chain")


def ask(capsys: pytest.CaptureFixture[str], command: str, *options: object) -> Any:
    """Ask the demo's recording, and return the JSON document."""
    assert main([command, str(DEMO), "--json", *map(str, options)]) == 0
    return json.loads(capsys.readouterr().out)


def total(capsys: pytest.CaptureFixture[str], view: str, *options: object) -> int:
    return int(ask(capsys, "folded", "--view", view, "--all", *options)["total_ns"])


def rows(capsys: pytest.CaptureFixture[str], of: str, *options: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(capsys, "table", "--of", of, *options)
    return found


@pytest.mark.parametrize("of", ["block-io", "tcp-sessions"])
def test_processes_and_names_select_their_rows(capsys: pytest.CaptureFixture[str], of: str) -> None:
    every = rows(capsys, of)
    server = next(row["pid"] for row in every if row["comm"] == "shop-server")
    assert rows(capsys, of, "--pid", server) == [row for row in every if row["pid"] == server]
    assert rows(capsys, of, "--comm", "shop-[cl]*") == [
        row for row in every if fnmatchcase(str(row["comm"]), "shop-[cl]*")
    ]


def test_a_thread_selects_its_own_time_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    row = next(row for row in rows(capsys, "threads") if row["comm"] == "shop-server")
    assert rows(capsys, "threads", "--tid", row["tid"]) == [row]
    off_cpu_ns = row["blocked_ns"] + row["run_queue_ns"] + row["preempted_ns"]
    assert total(capsys, "off-cpu", "--tid", row["tid"]) == off_cpu_ns
    assert total(capsys, "off-wake", "--tid", row["tid"]) == row["blocked_ns"]
    assert total(capsys, "on-cpu", "--tid", row["tid"]) == row["on_cpu_ns"]


@pytest.mark.parametrize("view", [*STACK_VIEWS, "run-queue", "on-cpu", "wall"])
def test_two_parts_of_the_time_add_up_to_the_whole(capsys: pytest.CaptureFixture[str], view: str) -> None:
    early, late = total(capsys, view, "--to", 0.5), total(capsys, view, "--from", 0.5)
    assert 0 < early and 0 < late
    assert early + late == total(capsys, view)


@pytest.mark.parametrize("view", STACK_VIEWS)
def test_shorter_and_longer_waits_add_up_to_all(capsys: pytest.CaptureFixture[str], view: str) -> None:
    short, long = total(capsys, view, "--max-us", "999.999"), total(capsys, view, "--min-us", 1000)
    assert 0 < short < long
    assert short + long == total(capsys, view)


@pytest.mark.parametrize("view", STACK_VIEWS)
def test_states_part_the_waits(capsys: pytest.CaptureFixture[str], view: str) -> None:
    disk = total(capsys, view, "--state", "D")
    others = total(capsys, view, "--state", "S,T,t,P,I,R")
    assert 0 < disk < others
    assert disk + others == total(capsys, view)


@pytest.mark.parametrize(("of", "column"), [("block-io", "service_ns"), ("tcp-sessions", "duration_ns")])
def test_durations_select_requests_and_sessions(capsys: pytest.CaptureFixture[str], of: str, column: str) -> None:
    every = rows(capsys, of)
    middle = sorted(row[column] for row in every if row[column] is not None)[len(every) // 2]
    wanted = [row for row in every if row[column] is not None and row[column] >= middle]
    assert 0 < len(wanted) < len(every)
    assert rows(capsys, of, "--min-us", middle / 1000) == wanted


def test_a_time_selects_the_requests_that_completed_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    every = rows(capsys, "block-io")
    parts = [rows(capsys, "block-io", *options) for options in (("--to", 0.4), ("--from", 0.4))]
    assert all(parts) and [*parts[0], *parts[1]] == every


def test_switches_are_those_of_the_selected_time(capsys: pytest.CaptureFixture[str]) -> None:
    def switches(*options: object) -> int:
        return sum(row["switches"] for row in rows(capsys, "threads", "--comm", "shop*", *options))

    early, late, whole = switches("--to", 0.5), switches("--from", 0.5), switches()
    assert 0 < early and 0 < late and early + late <= whole
    assert early + late >= whole - len(rows(capsys, "threads", "--comm", "shop*"))  # each left a CPU for good, or once
    part = rows(capsys, "threads", "--to", 0.5)
    assert {row["wakeups"] for row in part} == {None}
    assert {row["switches"] for row in rows(capsys, "threads", "--state", "S")} == {None}


def test_grep_selects_stacks_and_rows(capsys: pytest.CaptureFixture[str]) -> None:
    every = ask(capsys, "folded")["stacks"]
    wanted = [stack for stack in every if any(re.search("nanosleep|fsync", frame) for frame in stack["frames"])]
    assert 0 < len(wanted) < len(every)
    assert ask(capsys, "folded", "--grep", "nanosleep|fsync")["stacks"] == wanted
    requests = rows(capsys, "block-io")
    wanted = [row for row in requests if row["operation"] == "flush"]
    assert wanted and rows(capsys, "block-io", "--grep", "^flush$") == wanted


@pytest.mark.parametrize("view", [view for view, options in query.OPTIONS.items() if "by" in options])
def test_the_first_frame_is_what_was_asked_for(capsys: pytest.CaptureFixture[str], view: str) -> None:
    forms = {
        "thread": r".+ \(\d+\)|\[.+\]|swapper/\d+",
        "process": r".+ \(\d+\)|\[.+\]|swapper/\d+",
        "cgroup": r"\[no cgroup\]|.+",
    }
    totals = set()
    for by in BY:
        document = ask(capsys, "folded", "--view", view, "--by", by)
        totals.add(document["total_ns" if document["unit"] == "ns" else "total"])
        roots = {stack["frames"][0] for stack in document["stacks"]}
        assert all(re.fullmatch(forms.get(by, ".+"), root) for root in roots if view != "wakeup"), roots
    assert len(totals) == 1


def test_split_tells_the_parts_apart(capsys: pytest.CaptureFixture[str]) -> None:
    table = rows(capsys, "threads")
    stacks = ask(capsys, "folded", "--view", "off-cpu", "--split", "--all")["stacks"]

    def ending(*ends: str) -> int:
        return sum(stack["value_ns"] for stack in stacks if stack["frames"][-1] in ends)

    assert ending("[blocked]") == sum(row["blocked_ns"] for row in table)
    assert ending("[run queue]", "[wake-up]") == sum(row["run_queue_ns"] for row in table)
    assert ending("[preempted]") == sum(row["preempted_ns"] for row in table)


def test_both_chains_weigh_all_blocked_time(capsys: pytest.CaptureFixture[str]) -> None:
    blocked_ns = sum(row["blocked_ns"] for row in rows(capsys, "threads"))
    assert total(capsys, "chain", "--chain", "path") == total(capsys, "chain", "--chain", "time") == blocked_ns


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [("folded", "--view", view) for view in query.VIEWS]
    + [("heatmap", "--of", of) for of in query.HEATMAPS]
    + [("histogram", "--of", of) for of in query.HISTOGRAMS]
    + [("table", "--of", of) for of in query.TABLES],
)
def test_everything_takes_every_option(
    capsys: pytest.CaptureFixture[str], command: str, option: str, name: str
) -> None:
    some = ("--comm", "shop*", "--state", "S,D,R", "--min-us", 5, "--max-us", 2_000_000, "--grep", "sh.p")
    ask(capsys, command, option, name, *some, "--from", 0.1, "--to", 2)
    ask(capsys, command, option, name, *some, "--to", 0.8, "--ended", "--all", "--cgroup", "*")


@pytest.mark.parametrize("command", ["heatmap", "histogram", "table"])
def test_events_of_no_field_are_refused_in_a_sentence(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, str(DEMO), "--of", "events:"]) == 2
    assert "'events:'; there are " in capsys.readouterr().err
