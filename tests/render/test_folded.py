"""Folded stacks and documents: what other programs read."""

import json

from offwake.analyzer.profile import Profile
from offwake.analyzer.render.documents import profile_document
from offwake.analyzer.render.folded import folded
from tests.render.profiles import hostile_profile, large_profile, small_profile


def test_lines_are_sorted_and_in_microseconds() -> None:
    assert folded(small_profile()).splitlines() == [
        "nginx;main;futex_[k];--;wake_[k];unlock;nginx 20000",
        "nginx;main;read_[k];--;write_[k];reply;postgres 40000",
        "redis;epoll_[k] 30000",
        "sh;wait_[k] 10000",
    ]


def test_the_sum_of_the_lines_is_the_total_within_rounding() -> None:
    profile = large_profile()
    lines = folded(profile).splitlines()
    total_us = sum(int(line.rpartition(" ")[2]) for line in lines)
    assert len(lines) == len(profile)
    assert abs(total_us - profile.total_ns / 1000) <= len(lines) / 2


def test_a_stack_below_half_a_microsecond_is_still_there() -> None:
    profile = Profile("off-cpu")
    profile.add(("sh", "short_[k]"), 400)
    assert folded(profile) == "sh;short_[k] 0\n"


def test_no_name_can_make_a_line_or_a_frame() -> None:
    profile = hostile_profile()
    lines = folded(profile).split("\n")[:-1]
    assert len(lines) == len(profile)
    assert all(line.count(";") == 2 for line in lines)
    assert "�[31mred�]0:title�" in folded(profile)


def test_the_document_holds_every_stack_to_the_nanosecond() -> None:
    profile = small_profile()
    document = json.loads(json.dumps(profile_document(profile)))
    assert {key: document[key] for key in ("view", "unit", "total_ns", "hidden_ns")} == {
        "view": "off-wake",
        "unit": "ns",
        "total_ns": 100_000_000,
        "hidden_ns": 5_000_000_000,
    }
    assert document["stacks"][2] == {"frames": ["redis", "epoll_[k]"], "value_ns": 30_000_000, "count": 3}
    assert sum(stack["value_ns"] for stack in document["stacks"]) == document["total_ns"]
