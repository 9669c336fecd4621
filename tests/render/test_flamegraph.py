"""Flame graphs: well-formed, small, in the colours that users know."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from offwake.analyzer.profile import Profile
from offwake.analyzer.render.colours import Family, frame_colour
from offwake.analyzer.render.flamegraph import FlameOptions, draw, flame_graph
from offwake.analyzer.render.layout import BOXES_AT_MOST, boxes
from offwake.analyzer.render.sandwich import frame_tree
from offwake.analyzer.render.svg import Caption
from offwake.analyzer.render.tree import FrameTree
from tests.render.profiles import hostile_profile, large_profile, small_profile

CAPTION = Caption("off-wake", "web01 · 10.0 s", ("7 events were lost",))
SVG = "{http://www.w3.org/2000/svg}"


def rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def drawn(svg: str) -> list[tuple[str, ET.Element]]:
    """Return the frames' names with their rectangles, as a script finds them."""
    root = ET.fromstring(svg.encode())
    data = json.loads(root.findtext(f"{SVG}metadata") or "")
    rectangles = root.findall(f".//{SVG}g[@class='frames']/{SVG}rect")
    assert len(rectangles) == len(data["frames"])
    return [(data["names"][frame[1]], rectangle) for frame, rectangle in zip(data["frames"], rectangles, strict=True)]


@pytest.mark.parametrize("view", ["off-wake", "on-cpu", "wakeup"])
@pytest.mark.parametrize("icicle", [False, True])
def test_a_small_picture_shows_its_frames_in_their_place(view: str, icicle: bool) -> None:
    frames = drawn(flame_graph(FrameTree(small_profile(view)), CAPTION, FlameOptions(width=1020, icicle=icicle)))
    by_name = {name: {key: float(rect.get(key, "")) for key in ("x", "y", "width")} for name, rect in frames}
    assert by_name["all"]["x"] == 0 and by_name["all"]["width"] == pytest.approx(999.4)
    assert by_name["redis"] == {"x": 600, "y": 16 if icicle else 6 * 16, "width": pytest.approx(299.4)}
    assert by_name["all"]["y"] == (0 if icicle else 7 * 16)


def is_between(colour: str | None, low: tuple[int, ...], high: tuple[int, ...]) -> bool:
    return all(a <= channel <= b for a, channel, b in zip(low, rgb(colour or ""), high, strict=True))


@pytest.mark.parametrize("view", ["off-wake", "on-cpu"])
def test_colours_follow_the_family(view: str) -> None:
    def between(name: str, low: tuple[int, ...], high: tuple[int, ...]) -> bool:
        return is_between(dict(drawn(flame_graph(FrameTree(small_profile(view)), CAPTION)))[name].get("fill"), low, high)

    for kernel in ("read_[k]", "write_[k]"):
        assert between(kernel, (190, 90, 0), (255, 155, 0))
    assert between("--", (160, 160, 160), (160, 160, 160))
    if view == "on-cpu":
        assert between("nginx", (205, 0, 0), (255, 230, 55)) and between("reply", (205, 0, 0), (255, 230, 55))
    else:
        assert between("main", (80, 80, 190), (140, 140, 245)) and between("redis", (80, 80, 190), (140, 140, 245))
        assert between("reply", (50, 165, 165), (110, 220, 220)) and between(
            "postgres", (50, 165, 165), (110, 220, 220)
        )


def test_all_time_is_hot_on_the_cpu_and_cold_off_it() -> None:
    profile = Profile("wall")
    profile.add(("busy", "compute", "fault_[k]", "[on CPU]"), 9_000_000)
    profile.add(("busy", "read_[k]", "[blocked]"), 8_000_000)
    profile.add(("lazy", "sleep_[k]", "[blocked]"), 9_000_000)
    frames = [(name, rect.get("fill")) for name, rect in drawn(flame_graph(FrameTree(profile), CAPTION))]
    hot, cold = ((190, 0, 0), (255, 230, 55)), ((80, 80, 190), (140, 140, 245))
    for name, colour in frames:
        assert is_between(colour, *(hot if name in ("busy", "compute", "fault_[k]", "[on CPU]") else cold)), name
    assert {name for name, _ in frames} >= {"all", "lazy", "read_[k]", "sleep_[k]", "[blocked]"}


def test_a_name_has_one_shade_and_names_have_many() -> None:
    assert frame_colour("read", Family.OFF_CPU) == frame_colour("read", Family.OFF_CPU)
    assert len({frame_colour(f"f{number}", Family.OFF_CPU) for number in range(200)}) > 40


def test_hostile_names_leave_the_file_well_formed_and_without_markup() -> None:
    svg = flame_graph(FrameTree(hostile_profile()), Caption("<script>", "\x1b&\ufffe", ("]]>", "\ud800")))
    root = ET.fromstring(svg.encode())
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        *("svg", "title", "desc", "metadata", "linearGradient", "stop", "g", "rect", "text", "style", "script")
    }
    assert len(root.findall(f".//{SVG}script")) == 1
    attributes = {key for element in root.iter() for key in element.attrib}
    assert not any(key.startswith("on") or key in ("style", "href") for key in attributes)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ufffe\uffff]", svg)


def test_an_inlined_picture_has_neither_script_nor_style() -> None:
    svg = draw(FrameTree(small_profile()), CAPTION, FlameOptions())
    assert "<script" not in svg and "<style" not in svg and "style=" not in svg
    assert svg.startswith("<svg ") and svg.endswith("</svg>")


def test_a_zoomed_picture_fills_the_width_and_dims_the_ancestors() -> None:
    tree = FrameTree(small_profile())
    key = next(box.key for box in boxes(tree.root, 1000) if box.name == "main")
    frames = drawn(draw(tree, CAPTION, FlameOptions(width=1020, zoom=key)))
    assert [(name, rect.get("opacity"), rect.get("width")) for name, rect in frames[:4]] == [
        ("all", ".5", "999.4"),
        ("nginx", ".5", "999.4"),
        ("main", None, "999.4"),
        ("futex_[k]", None, "332.7"),
    ]
    assert "redis" not in dict(frames)


def test_matches_are_magenta_and_their_share_is_of_the_whole_tree() -> None:
    profile = small_profile()
    for number in range(10_000):
        profile.add(("tiny", f"hidden {number}"), 1_000)
    svg = draw(
        FrameTree(profile), CAPTION, FlameOptions(matches=frozenset({"reply", *map("hidden {}".format, range(10_000))}))
    )
    assert {name for name, rect in drawn(svg) if rect.get("fill") == "rgb(230,0,230)"} == {"reply"}
    assert "Matched: 45.5 %" in svg


def test_an_empty_profile_is_a_picture_too() -> None:
    svg = flame_graph(FrameTree(Profile("off-cpu")), CAPTION)
    assert [name for name, _ in drawn(svg)] == ["all"]
    assert "no stacks" in svg


@pytest.mark.parametrize("profile", [large_profile(), large_profile(45_000, 5), large_profile(1_000, 100)])
def test_a_hundred_thousand_frames_are_at_most_500_kb(profile: Profile) -> None:
    assert sum(1 for _ in FrameTree(profile)) > 75_000
    svg = flame_graph(FrameTree(profile), CAPTION)
    assert len(svg.encode()) / svg.count("<rect") < 150
    for picture in (svg, flame_graph(frame_tree(profile, "server"), CAPTION)):
        assert len(picture.encode()) <= 500_000
        assert len(drawn(picture)) <= BOXES_AT_MOST + 1


@pytest.mark.parametrize("view", ["off-wake", "on-cpu", "wall"])
@pytest.mark.parametrize("sandwich", [None, "read_[k]", "main", "<script>alert(1)</script>", "nothing has it"])
def test_every_picture_is_strict_xml_and_adds_up(view: str, sandwich: str | None) -> None:
    for profile in (small_profile(view), replace(hostile_profile(500), view=view)):
        svg = flame_graph(frame_tree(profile, sandwich), CAPTION)
        data = json.loads(ET.fromstring(svg.encode()).findtext(f"{SVG}metadata") or "")
        total_ns = data["frames"][0][2]
        for side in (1, -1):
            assert sum(ns for depth, _, ns, _ in data["frames"] if depth == side) <= total_ns
        if sandwich is None:
            assert total_ns == profile.total_ns and all(depth >= 0 for depth, *_ in data["frames"])
        else:
            assert total_ns == sum(weight.value_ns for frames, weight in profile if sandwich in frames)


def test_a_zoomed_half_of_a_sandwich_leaves_out_the_other() -> None:
    tree = frame_tree(small_profile(), "read_[k]")
    keys = {box.name: box.key for box in boxes(tree.root, 1000)}
    callers = drawn(draw(tree, CAPTION, FlameOptions(zoom=keys["main"])))
    assert [(name, rect.get("opacity"), rect.get("y")) for name, rect in callers] == [
        ("read_[k]", ".5", "32"),
        ("main", None, "16"),
        ("nginx", None, "0"),
    ]
    callees = drawn(draw(tree, CAPTION, FlameOptions(zoom=keys["write_[k]"])))
    assert [name for name, _ in callees] == ["read_[k]", "--", "write_[k]", "reply", "postgres"]


def test_what_is_matched_in_a_sandwich_is_said_of_both_halves() -> None:
    tree = frame_tree(small_profile(), "main")
    svg = draw(tree, CAPTION, FlameOptions(matches=frozenset({"reply", "nginx"})))
    assert "Matched: 100.0 % of callees, 100.0 % of callers" in svg
    assert "Matched: 66.7 % of callees, 0.0 % of callers" in draw(tree, CAPTION, FlameOptions(matches=frozenset({"reply"})))
