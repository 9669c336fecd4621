"""Of a narrowed recording nothing counts strangers, unless all is to be shown."""

from pathlib import Path

import pytest

from offwake.analyzer import query
from offwake.analyzer.explain import explain
from offwake.analyzer.query import ViewOptions
from offwake.analyzer.recording import Recording
from offwake.analyzer.select import Selection
from offwake.format.layout import Kind
from tests.analyzer.recorded import ALL
from tests.analyzer.test_nonsense import EXAMPLE, blocks_of, write

MEMBERS = {"shop-server", "shop-accept"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the example, as if it had been narrowed to some of its threads."""
    with Recording.open(EXAMPLE) as recording:
        tids = [row["tid"] for row in query.table(recording, "threads", ALL).rows if row["comm"] in MEMBERS]
    blocks = blocks_of(EXAMPLE)
    for block, content in blocks:
        if block.kind == Kind.KEYFRAME:
            narrowed = {"pids": [], "tids": tids, "cgroups": [], "members": tids, "command": False, "wakers": True}
            content["narrowing"] = narrowed
    return write(tmp_path_factory.mktemp("narrowed") / "narrowed.offwake", blocks)


def test_what_a_search_does_not_show_of_strangers_is_not_hidden_time(path: Path) -> None:
    with Recording.open(path) as recording:
        shown = query.profile(recording, "off-cpu", Selection())
        assert shown.hidden_ns > 0
        assert query.profile(recording, "off-cpu", Selection(grep=".")).hidden_ns == shown.hidden_ns
        sandwich = ViewOptions(sandwich="entry_SYSCALL_64_after_hwframe_[k]")
        assert query.profile(recording, "off-cpu", Selection(), sandwich).hidden_ns == shown.hidden_ns


def test_strangers_waits_are_explained_only_if_all_are_asked_for(path: Path) -> None:
    with Recording.open(path) as recording:
        assert {decision.comm for decision in explain(recording, Selection())} == MEMBERS
        assert {decision.comm for decision in explain(recording, ALL)} > MEMBERS


@pytest.mark.parametrize("selection", [Selection(), ALL])
def test_the_table_of_the_overview_is_of_the_same_threads_as_others(path: Path, selection: Selection) -> None:
    with Recording.open(path) as recording:
        for part in ("on_cpu_ns", "run_queue_ns"):
            of_overview, of_threads = (
                sum(row[part] for row in query.table(recording, name, selection).rows) for name in ("overview", "threads")
            )
            assert of_overview == of_threads
