"""Events of TCP sockets find their sessions, their processes and their ends; what they measured is counted where it belongs.

Recordings last 1000 ns. Threads 7 and 8 are known, of two processes. A socket's address follows from its local port.
"""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from offwake.analyzer import query
from offwake.analyzer.latest import NONE, latest
from offwake.analyzer.render.documents import profile_document
from offwake.analyzer.render.folded import folded
from offwake.analyzer.select import Selection
from tests.analyzer.recorded import ALL, recorded
from tests.events import Known, Other, Trace

BEGAN_NS = 1_000_000_000
ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, CLOSE, LISTEN = 1, 2, 3, 4, 7, 10
LOCAL, REMOTE = 0x0100007F, 0x0200000A  # 127.0.0.1 and 10.0.0.2, as they lie in memory
PACKET, OTHER_PACKET = 0xFFFF_8880_1234_0000, 0xFFFF_8880_1234_0100


def socket_of(port: int) -> int:
    return 0xFFFF_8880_0000_0000 + port


def event(at_ns: int, kind: str, port: int, **fields: int) -> Other:
    about = {"socket": socket_of(port), "tid": 7, "family": 2, "local_port": port, "local4": LOCAL, "remote4": REMOTE}
    return Other(BEGAN_NS + at_ns, 0, kind, about | fields)


def change(at_ns: int, port: int, old: int, new: int, **fields: int) -> Other:
    return event(at_ns, "tcp_state", port, old_state=old, new_state=new, **fields)


def table(of: str, events: list[Other], **selected: Any) -> list[dict[str, Any]]:
    threads = [Known(7, 7, "seven"), Known(8, 8, "eight")]
    with recorded(Trace(began_ns=BEGAN_NS, threads=threads, events=[*events])) as opened:
        return query.table(opened, of, Selection(**selected) if selected else ALL).rows


TIMED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=30)


@given(asked=TIMED, others=TIMED)
def test_the_latest_is_the_last_of_the_same_key_that_is_not_later(
    asked: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    columns = [np.array([row[at] for row in rows], np.int64) for rows in (asked, others) for at in (0, 1)]
    found = latest(columns[0], columns[1], (columns[2], columns[3])).tolist()
    for (key, time), place in zip(asked, found, strict=True):
        fitting = [(when, at) for at, (other, when) in enumerate(others) if other == key and when <= time]
        assert place == (max(fitting)[1] if fitting else NONE)


COMES_IN = [
    change(50, 80, CLOSE, LISTEN, tid=8, remote4=0),
    change(100, 81, LISTEN, SYN_RECV),
    change(110, 81, SYN_RECV, ESTABLISHED),
    event(150, "tcp_first_send", 81, tid=8),
    change(300, 81, ESTABLISHED, FIN_WAIT1, tid=8),
    change(350, 81, FIN_WAIT1, CLOSE),
]


def test_a_connection_that_comes_in_begins_with_the_copy_of_the_socket_that_listens() -> None:
    [row] = table("tcp-sessions", COMES_IN)
    assert (row["start_ns"], row["duration_ns"], row["comm"], row["connect_ns"]) == (100, 250, "eight", None)


def test_sockets_that_listen_have_states_and_are_no_sessions() -> None:
    rows = table("tcp-states", COMES_IN)
    assert [(row["local_port"], row["old_state"], row["new_state"], row["duration_ns"]) for row in rows] == [
        (80, "CLOSE", "LISTEN", None),
        (81, "LISTEN", "SYN_RECV", None),
        (81, "SYN_RECV", "ESTABLISHED", 10),
        (81, "ESTABLISHED", "FIN_WAIT1", 190),
        (81, "FIN_WAIT1", "CLOSE", 50),
    ]
    assert {row["comm"] for row in rows} == {"eight"}
    assert [row["duration_ns"] for row in table("tcp-states", COMES_IN, min_ns=50)] == [190, 50]


def test_what_lies_on_a_border_of_two_times_is_in_the_second() -> None:
    def starts(**selected: int) -> list[int]:
        return [row["start_ns"] for row in table("tcp-states", COMES_IN, **selected)]

    assert starts(end_ns=110) == [50, 100] and starts(begin_ns=110) == [110, 300, 350]


def test_counters_belong_to_the_time_in_which_their_second_ended() -> None:
    grown = [{"grown": {"tcp-stats": {"TcpInSegs": count}}} for count in (3, 4)]
    trace = Trace(began_ns=BEGAN_NS, ended_ns=BEGAN_NS + 1000, ticks=dict(enumerate(grown)))
    trace.ticks[1]["time_ns"] = trace.ended_ns + 5  # the last one comes when everything was detached
    with recorded(trace, [(BEGAN_NS + 400,)]) as opened:
        for begin_ns, end_ns, counts in ((None, None, [3, 4]), (None, 400, []), (400, None, [3, 4]), (0, 1000, [3, 4])):
            rows = query.table(opened, "tcp-counters", Selection(begin_ns=begin_ns, end_ns=end_ns)).rows
            assert [row["count"] for row in rows] == counts


def test_connecting_takes_until_the_answer() -> None:
    asked = [change(100, 90, CLOSE, SYN_SENT), change(140, 90, SYN_SENT, ESTABLISHED)]
    refused = [change(200, 91, CLOSE, SYN_SENT), change(230, 91, SYN_SENT, CLOSE)]
    with recorded(Trace(began_ns=BEGAN_NS, threads=[Known(7, 7, "seven")], events=[*asked, *refused])) as opened:
        [one] = query.histogram(opened, "connect", ALL).found
        assert (one.count, one.min_ns, one.max_ns) == (1, 40, 40)


def test_retransmits_are_segments_and_bring_a_connection_with_them_that_nothing_was_heard_of() -> None:
    again = [event(100, "tcp_retransmit", 95, segments=3, state=ESTABLISHED), event(200, "tcp_first_send", 95, tid=8)]
    [row] = table("tcp-retransmits", again)
    assert (row["start_ns"], row["segments"], row["state"], row["comm"]) == (100, 3, "ESTABLISHED", "eight")
    assert (row["local"], row["local_port"], row["remote"]) == ("127.0.0.1", 95, "10.0.0.2")
    [session] = table("tcp-sessions", again)
    assert (session["retransmits"], session["start_ns"]) == (3, None)


def test_a_connection_that_nobody_answers_has_the_port_that_its_second_try_shows() -> None:
    asked = [change(100, 94, CLOSE, SYN_SENT, local_port=0), event(200, "tcp_retransmit", 94, segments=1, state=SYN_SENT)]
    gives_up = change(300, 94, SYN_SENT, CLOSE, local_port=0)
    for of in ("tcp-retransmits", "tcp-sessions"):
        [row] = table(of, [*asked, gives_up])
        assert (row["local_port"], row["comm"]) == (94, "seven")


def test_a_socket_that_is_used_anew_is_another_session() -> None:
    first = [change(100, 96, CLOSE, SYN_SENT), event(150, "tcp_destroy", 96)]
    second = [change(200, 96, CLOSE, SYN_SENT, tid=8, remote4=LOCAL), event(210, "tcp_send", 96, length=5)]
    rows = table("tcp-top", [*first, event(120, "tcp_send", 96, length=3), *second])
    assert sorted((row["remote"], row["tx_bytes"]) for row in rows) == [("10.0.0.2", 3), ("127.0.0.1", 5)]


def test_bytes_are_those_of_the_process_that_called() -> None:
    moved = [
        event(100, "tcp_first_send", 97),
        event(110, "tcp_send", 97, length=10),
        event(120, "tcp_send", 97, length=20, tid=8),
        event(130, "tcp_receive", 97, length=40, tid=8),
    ]
    rows = table("tcp-top", moved)
    assert [(row["comm"], row["tx_bytes"], row["rx_bytes"]) for row in rows] == [("eight", 20, 40), ("seven", 10, 0)]
    assert [row["tx_bytes"] for row in table("tcp-top", moved, begin_ns=115)] == [20]
    assert [row["comm"] for row in table("tcp-top", moved, pid=7)] == ["seven"]


DROPS = [
    change(100, 98, CLOSE, SYN_SENT),
    event(200, "tcp_drop", 98, reason=3, length=40, tcp_flags=2, state=SYN_SENT),
    event(210, "tcp_drop", 98, reason=104, length=0, tcp_flags=17),
    event(220, "tcp_drop", 98, reason=104, length=9, tcp_flags=24),
    event(230, "tcp_drop", 0, socket=0, reason=77, tcp_flags=4),
]


def test_drops_have_their_reasons_and_an_orderly_end_is_none() -> None:
    rows = table("tcp-drops", DROPS)
    assert [(row["reason"], row["flags"], row["comm"]) for row in rows] == [
        ("NO_SOCKET", "SYN", "seven"),
        ("QUEUE_PURGE", "PSH|ACK", "seven"),
        ("77", "RST", None),
    ]
    assert [row["state"] for row in rows] == ["SYN_SENT", "", None]


def test_what_counts_packets_says_so() -> None:
    with recorded(Trace(began_ns=BEGAN_NS, threads=[Known(7, 7, "seven")], events=[*DROPS])) as opened:
        profile = query.profile(opened, "tcp-drop", ALL)
    document = profile_document(profile)
    assert (document["unit"], document["total"]) == ("packets", 3)
    assert [stack["value"] for stack in document["stacks"]] == [1, 1, 1]
    assert folded(profile) == "77 1\nNO_SOCKET 1\nQUEUE_PURGE 1\n"
    assert (profile + profile).unit == "packets"


def test_a_packet_that_left_the_driver_is_the_one_that_came_to_it_last() -> None:
    packets = [
        event(100, "net_to_driver", 99, packet=PACKET, latency_ns=5),
        event(110, "net_to_wire", 0, packet=PACKET, latency_ns=10),
        event(120, "net_to_driver", 100, packet=PACKET, latency_ns=6),
        event(150, "net_to_wire", 0, packet=PACKET, latency_ns=30),
        event(160, "net_to_wire", 0, packet=OTHER_PACKET, latency_ns=40),
        event(170, "net_to_wire", 0, packet=PACKET, latency_ns=(1 << 64) - 1),
    ]
    rows = table("net-stack", packets)
    assert [(row["local_port"], row["way"], row["packets"], row["total_ns"]) for row in rows] == [
        (100, "driver-to-wire", 1, 30),
        (99, "driver-to-wire", 1, 10),
        (100, "queue-to-driver", 1, 6),
        (99, "queue-to-driver", 1, 5),
    ]
