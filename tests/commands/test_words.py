"""What commands say: about wrong requests, about selections that nothing fits, about what a file lacks."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from offwake.analyzer.options import SELECTION, parse_selection, parse_view_options, words
from offwake.cli import main
from offwake.format.layout import Kind
from tests.analyzer.test_nonsense import blocks_of, write
from tests.commands.test_selection import DEMO
from tests.events import Sample
from tests.programs import Block, Program, Run, Workload
from tests.simulator import Simulator
from tests.traces import write_trace

PROGRAMS = (Program("ticker", (Block(timeout_ns=90, listens=False), Run(5))), Program("spinner", (Run(1_000_000),)))
WORKLOAD = Workload(PROGRAMS, cpus=1, seed=1, warm_up_ns=100, length_ns=5_000)
CONTAINER = "/system.slice/docker-" + "0123456789abcdef" * 4 + ".scope"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording without block I/O and TCP, whose first thread is in a container."""
    trace = Simulator(WORKLOAD).trace
    cgroups = [(CONTAINER, [trace.threads[0].tgid])]
    return write_trace(tmp_path_factory.mktemp("words") / "simulated.offwake", replace(trace, cgroups=cgroups))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--pid x", "--pid x: an id is a whole number from 1 to 4194303"),
        ("--pid -1", "--pid -1: an id is a whole number from 1 to 4194303"),
        ("--tid 0", "--tid 0: an id is a whole number from 1 to 4194303"),
        ("--tid 4194304", "--tid 4194304: an id is a whole number from 1 to 4194303"),
        ("--comm ", "--comm: it is empty; leave the option out to select everything"),
        ("--state Q", "--state Q: “Q” is no state; there are S,D,T,t,P,I,R"),
        ("--state S,,D", "--state S,,D: “” is no state; there are S,D,T,t,P,I,R"),
        ("--min-us -5", "--min-us -5: it takes microseconds, 0 or more, such as 1.5"),
        ("--max-us nan", "--max-us nan: it takes microseconds, 0 or more, such as 1.5"),
        ("--min-us 5 --max-us 2", "--min-us 5 --max-us 2: nothing lies between them; exchange the two"),
        ("--from 1s", "--from 1s: it takes seconds since the recording's start, 0 or more, such as 1.5"),
        ("--to 1e999999", "--to 1e999999: it takes seconds since the recording's start, 0 or more, such as 1.5"),
        ("--to inf", "--to inf: it takes seconds since the recording's start, 0 or more, such as 1.5"),
        ("--from 1 --to 0.5", "--from 1 --to 0.5: nothing lies between them; exchange the two"),
        ("--from 1 --to 1", "--from 1 --to 1: nothing lies between them"),
        ("--by name", "--by name: there is no such choice; there are comm, thread, process, cgroup"),
        ("--view chain --chain depth", "--chain depth: there is no such choice; there are time, path"),
        ("--chain time", "--chain says nothing to --view off-wake: leave it out, or choose --view chain"),
        ("--split", "--split says nothing to --view off-wake: leave it out, or choose --view off-cpu"),
        (
            "--view nothing",
            "unknown view 'nothing'; there are chain, events, off-cpu, off-wake, on-cpu, run-queue, tcp-drop, wakeup, wall",
        ),
        ("--grep (", "'(' is no regular expression: missing ), unterminated subpattern at position 0"),
        ("--grep " + "a" * 501, "--grep is longer than 500 characters; shorten it"),
    ],
)
def test_a_wrong_request_is_one_sentence(capsys: pytest.CaptureFixture[str], options: str, sentence: str) -> None:
    assert main(["folded", str(DEMO), *options.split(" ")]) == 2
    said = capsys.readouterr()
    assert said.err == f"offwake: {sentence}\n" and not said.out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--pid 99999", "no thread of process 99999 is in this recording; `offwake table` lists those that are"),
        ("--tid 99999", "no thread 99999 is in this recording; `offwake table` lists those that are"),
        ("--comm nginx*", "no thread's name fits 'nginx*'; there are spinner, ticker"),
        ("--cgroup *podman*", f"no cgroup fits '*podman*'; there are {CONTAINER}"),
        ("--from 100", "the recording is only 5.06 µs long"),
        ("--comm ticker --state D", "nothing fits all of the selection"),
        ("--grep nothing", "nothing fits all of the selection"),
    ],
)
def test_a_selection_that_nothing_fits_says_what_is_there(
    capsys: pytest.CaptureFixture[str], simulated: Path, options: str, sentence: str
) -> None:
    assert main(["folded", str(simulated), "--json", *options.split()]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["stacks"] == []
    assert f"offwake: {simulated}: {sentence}" in said.err.splitlines()


def test_a_table_of_what_was_not_recorded_says_so(capsys: pytest.CaptureFixture[str], simulated: Path) -> None:
    assert main(["table", str(simulated), "--of", "block-io", "--json"]) == 0
    said = capsys.readouterr()
    assert said.out == "[]\n" and said.err == f"offwake: {simulated}: not recorded (source block)\n"


def test_help_lists_what_the_file_can_give(capsys: pytest.CaptureFixture[str], simulated: Path) -> None:
    assert main(["table", str(simulated), "--of", "help"]) == 0
    listed = dict(re.split(r" {2,}", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert listed["block-io"].startswith("not recorded (source block): every block I/O request")
    assert listed["threads"].startswith("every thread's time")
    trace = Simulator(WORKLOAD).trace
    unsampled = replace(trace, events=[event for event in trace.events if not isinstance(event, Sample)])
    path = write_trace(simulated.with_name("unsampled.offwake"), unsampled)
    assert main(["folded", str(path), "--view", "help"]) == 0
    assert re.search("^on-cpu +no events .*: what threads did", capsys.readouterr().out, re.MULTILINE)
    assert main(["folded", str(DEMO), "--view", "help"]) == 0
    assert "no events" not in capsys.readouterr().out


def test_a_cgroup_is_found_by_its_path_and_by_its_name(capsys: pytest.CaptureFixture[str], simulated: Path) -> None:
    found = []
    for glob in ("*/docker-0123*", "docker:0123456789ab"):
        assert main(["table", str(simulated), "--json", "--cgroup", glob]) == 0
        found.append([row["comm"] for row in json.loads(capsys.readouterr().out)])
    assert found == [["ticker"], ["ticker"]]
    assert main(["folded", str(simulated), "--by", "cgroup", "--view", "wall", "--all"]) == 0
    roots = {line.split(";")[0] for line in capsys.readouterr().out.splitlines()}
    assert roots == {"docker:0123456789ab", "[no cgroup]"}


def test_idle_rules_are_read_from_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def hidden_ns(*options: str) -> int:
        assert main(["folded", str(DEMO), "--json", *options]) == 0
        return int(json.loads(capsys.readouterr().out)["hidden_ns"])

    nothing = tmp_path / "nothing.toml"
    nothing.write_text("")
    assert hidden_ns("--idle-rules", str(nothing)) < hidden_ns()
    assert main(["folded", str(DEMO), "--idle-rules", str(tmp_path / "none.toml")]) == 2
    said = capsys.readouterr().err
    assert "none.toml" in said and said.count("\n") == 1


def test_options_are_read_and_written_alike() -> None:
    texts = {
        "pid": "7",
        "tid": "8",
        "comm": "a *",
        "cgroup": "*x",
        "state": "S,D",
        "min_us": "0.001",
        "max_us": "123456789.5",
        "from": "0.000000001",
        "to": "12345678.9",
        "ended": "",
        "grep": "a|b",
        "all": "",
    }
    assert set(texts) == {option.name for option in SELECTION}
    selection = parse_selection(texts)
    assert (selection.min_ns, selection.max_ns, selection.begin_ns) == (1, 123_456_789_500, 1)
    written = words(selection, parse_view_options({"by": "thread", "split": "", "chain": "path"}))
    assert written[:5] == ["--by", "thread", "--split", "--chain", "path"]
    for option in SELECTION:
        place = written.index(option.flag)
        assert not option.metavar or written[place + 1] == texts[option.name]


def test_a_period_without_offset_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["heatmap", str(DEMO), "--period", "2"]) == 2
    assert capsys.readouterr().err == "offwake: --period says nothing without --offset: leave it out, or add --offset\n"


def test_the_summary_counts_in_words(capsys: pytest.CaptureFixture[str], simulated: Path) -> None:
    for file in (DEMO, simulated):
        assert main(["summary", str(file)]) == 0
        said = capsys.readouterr().out
        assert re.search(r"\((\d[\d,]* waits, .+ on average|1 wait)\)$", said, re.MULTILINE)
        assert not re.search(r"\b1 (waits|requests|sessions|retransmits)\b|\b0 B\b|ran .*\b0 %", said)


def test_a_summary_of_a_selection(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--comm", "shop-*", "--from", "0.2"]
    assert main(["table", str(DEMO), "--json", *options]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert main(["summary", str(DEMO), *options]) == 0
    said = capsys.readouterr()
    assert "\nSelected: --comm 'shop-*' --from 0.2\n" in said.out and f"Where {len(rows)} threads" in said.out
    waiting = re.findall(r"^ +[\d.]+ [nµm]?s  (\S+): ", said.out, re.MULTILINE)
    assert waiting and all(name.startswith("shop-") for name in waiting)
    again = said.out.partition("Next: offwake ")[2].partition(" -o ")[0]
    assert main(["folded", *shlex.split(again)[1:]]) == 0 and capsys.readouterr().out
    assert main(["summary", str(DEMO), "--comm", "nobody"]) == 0
    said = capsys.readouterr()
    assert "Where 0 threads" in said.out and "no thread's name fits 'nobody'" in said.err


def test_folded_states_how_complete_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["folded", str(DEMO), "--json"]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["complete"] is True and 0 < document["open_ns"] < document["total_ns"]
    assert re.search(r": complete; .+ shown; .+ hidden: .+; .+ in open waits, .+; .+ unknown\n", said.err)
    cut = tmp_path / "cut.offwake.part"
    cut.write_bytes(DEMO.read_bytes()[: DEMO.stat().st_size * 2 // 3])
    assert main(["folded", str(cut), "--json"]) == 4
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["complete"] is False and "not ended" in document["notices"][0]
    assert ": not complete: not ended" in said.err


@pytest.mark.parametrize(("command", "name"), [("flamegraph", "chain"), ("heatmap", "off-cpu")])
def test_pictures_state_completeness_and_selection(capsys: pytest.CaptureFixture[str], command: str, name: str) -> None:
    assert main([command, str(DEMO), "--view" if command == "flamegraph" else "--of", name, "--comm", "shop*"]) == 0
    picture = capsys.readouterr().out
    assert " events · complete" in picture and "--comm &#39;shop*&#39;" in picture


ESCAPE = "\x1b[2J\nnext line"


@pytest.mark.parametrize(
    "changes",
    [{"unavailable": {ESCAPE: ESCAPE}}, {"kinds": [{"id": 1, "name": ESCAPE, "source": "", "size": 1, "fields": []}]}],
)
def test_nothing_that_is_said_of_a_recording_steers_a_terminal(
    changes: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = [
        (block, content | changes if block.kind == Kind.KEYFRAME else content)
        for block, content in blocks_of(Path(DEMO))
    ]
    path = str(write(tmp_path / "hostile.offwake", hostile))
    for command in (
        ["folded", path, "--view", "help"],
        ["folded", path],
        ["table", path, "--of", "threads"],
        ["info", path],
    ):
        main(command)
        said = capsys.readouterr()
        assert "[2J" in said.out + said.err
        assert "\x1b" not in said.out + said.err
        assert "\nnext line" not in said.out + said.err


def test_in_the_summary_a_pattern_chooses_waits_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    def sections(*options: str) -> dict[str, str]:
        assert main(["summary", str(DEMO), *options]) == 0
        said = capsys.readouterr()
        assert not said.err
        return {part.partition("\n")[0]: part for part in said.out.split("\n\n")}

    whole, some = sections(), sections("--grep", "fsync")
    (time,) = (title for title in whole if title.endswith("spent their time"))
    assert [line for line in some[time].splitlines() if "%" in line] == [
        line for line in whole[time].splitlines() if "%" in line
    ]
    (waits,) = (part for title, part in some.items() if title.startswith("What was waited for longest"))
    assert "only stacks with 'fsync'" in waits and "fsync" in waits.partition("\n")[2]
    for title in whole:
        if title.startswith(("Waiting for a CPU", "Block I/O", "TCP", "Threads that waited")):
            assert some[title] == whole[title]


def test_a_pattern_that_no_wait_fits_is_said_in_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(DEMO), "--grep", "no such function"]) == 0
    said = capsys.readouterr()
    assert "What was waited for longest, and why: only stacks with 'no such function'\n  nothing\n" in said.out
    assert "nothing fits all of the selection" in said.err
