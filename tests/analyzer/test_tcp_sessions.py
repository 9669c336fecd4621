"""TCP sessions that were there before the recording: nobody saw them begin, so nobody says how long they lasted.

Recordings last 1000 ns. Each session has a local port of its own, from which its socket address follows.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from offwake.analyzer import query
from offwake.analyzer.latencies import latencies
from offwake.analyzer.recording import Recording
from offwake.analyzer.render.table import text_table
from offwake.analyzer.scope import Scope
from offwake.analyzer.select import Selection
from tests.analyzer.recorded import ALL, recorded
from tests.events import DEAD, IDLE, Known, Other, Switch, Trace, WakeupNew

BEGAN_NS = 1_000_000_000
ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, CLOSE, CLOSE_WAIT = 1, 2, 3, 4, 7, 8
SENT_BEFORE, CLOSED_BEFORE, CLOSING_BEFORE, ASKED_BEFORE, CONNECTED, ACCEPTED = range(101, 107)
BEFORE = [SENT_BEFORE, CLOSED_BEFORE, CLOSING_BEFORE, ASKED_BEFORE]


def event(at_ns: int, kind: str, port: int, **fields: int) -> Other:
    about = {"socket": 0xFFFF_8880_0000_0000 + port, "tid": 7, "family": 2, "local_port": port}
    return Other(BEGAN_NS + at_ns, 0, kind, about | fields)


def change(at_ns: int, port: int, old: int, new: int) -> Other:
    return event(at_ns, "tcp_state", port, old_state=old, new_state=new)


AGAIN = [
    Switch(BEGAN_NS + 450, 0, 7, IDLE, DEAD),
    WakeupNew(BEGAN_NS + 500, 0, 8, 7, 77, "other"),
    Switch(BEGAN_NS + 550, 0, IDLE, 7),
]
"""Thread 7 ends, and another process has its id."""
EVENTS = [
    change(100, CONNECTED, CLOSE, SYN_SENT),
    change(150, CONNECTED, SYN_SENT, ESTABLISHED),
    event(160, "tcp_first_send", CONNECTED),
    change(200, ACCEPTED, SYN_RECV, ESTABLISHED),
    event(250, "tcp_first_send", SENT_BEFORE),
    change(300, CLOSED_BEFORE, ESTABLISHED, CLOSE),
    change(350, CLOSING_BEFORE, ESTABLISHED, CLOSE_WAIT),
    change(400, CONNECTED, ESTABLISHED, FIN_WAIT1),
    change(450, CONNECTED, FIN_WAIT1, CLOSE),
    change(500, ASKED_BEFORE, SYN_SENT, ESTABLISHED),
    change(600, SENT_BEFORE, ESTABLISHED, CLOSE),
]


@pytest.fixture(scope="module")
def recording() -> Iterator[Recording]:
    with recorded(Trace(began_ns=BEGAN_NS, threads=[Known(7, 7, "seven")], events=list(EVENTS))) as opened:
        yield opened


def ports(recording: Recording, **selected: Any) -> list[int]:
    return [row["local_port"] for row in query.table(recording, "tcp-sessions", Selection(**selected)).rows]


def test_a_session_whose_beginning_was_not_seen_has_neither_start_nor_duration(recording: Recording) -> None:
    rows = {row["local_port"]: row for row in query.table(recording, "tcp-sessions", ALL).rows}
    figures = {port: (row["start_ns"], row["duration_ns"]) for port, row in rows.items()}
    known = {CONNECTED: (100, 350), ACCEPTED: (200, 800)}
    assert figures == dict.fromkeys(BEFORE, (None, None)) | known
    assert (rows[SENT_BEFORE]["state"], rows[SENT_BEFORE]["comm"]) == ("CLOSE", "seven")


def test_of_one_that_had_given_its_port_back_there_is_a_row_too() -> None:
    """Nothing is known of it but its end, when it has no port any more; beside it is one that was there before, too."""
    about = {"socket": 0xFFFF_8880_0000_0001, "tid": 7, "family": 2, "old_state": ESTABLISHED, "new_state": CLOSE}
    events = [Other(BEGAN_NS + 100, 0, "tcp_state", about), event(250, "tcp_first_send", SENT_BEFORE)]
    with recorded(Trace(began_ns=BEGAN_NS, threads=[Known(7, 7, "seven")], events=[*events])) as opened:
        assert [row["local_port"] for row in query.table(opened, "tcp-sessions", ALL).rows] == [None, SENT_BEFORE]


def test_the_owner_of_a_session_is_who_had_the_id_then() -> None:
    events = [event(250, "tcp_first_send", SENT_BEFORE), *AGAIN, change(600, CONNECTED, CLOSE, SYN_SENT)]
    with recorded(Trace(began_ns=BEGAN_NS, threads=[Known(7, 7, "seven"), Known(8, 8, "eight")], events=events)) as opened:
        rows = query.table(opened, "tcp-sessions", ALL).rows
    assert [(row["comm"], row["pid"]) for row in rows] == [("seven", 7), ("other", 77)]


def test_those_that_were_there_before_come_first_and_show_a_dash(recording: Recording) -> None:
    assert ports(recording) == [*BEFORE, CONNECTED, ACCEPTED]
    lines = text_table(query.table(recording, "tcp-sessions", ALL)).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["-"] * len(BEFORE) + ["100", "200"]


def test_time_selects_them_as_if_they_began_with_the_recording(recording: Recording) -> None:
    assert ports(recording, end_ns=50) == BEFORE
    assert ports(recording, begin_ns=460) == [SENT_BEFORE, CLOSING_BEFORE, ASKED_BEFORE, ACCEPTED]


@pytest.mark.parametrize(("bounds", "found"), [({"min_ns": 0}, [CONNECTED, ACCEPTED]), ({"max_ns": 400}, [CONNECTED])])
def test_a_duration_that_is_not_known_lies_in_no_bounds(
    recording: Recording, bounds: dict[str, int], found: list[int]
) -> None:
    assert ports(recording, **bounds) == found


def test_latencies_are_of_sessions_that_began_and_ended_in_the_recording(recording: Recording) -> None:
    found = latencies(Scope(recording, ALL), "tcp-sessions", ("comm",))
    assert (found.ended_ns.tolist(), found.latency_ns.tolist()) == ([450], [350])
