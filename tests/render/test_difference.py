"""The picture of a comparison: colours, words and widths say what changed, whatever names the frames have."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from offwake.analyzer.compare import Comparison, Side, compared
from offwake.analyzer.profile import Profile
from offwake.analyzer.render.difference import GREY, NEW, Shades, difference_graph, difference_tree, ratio
from offwake.analyzer.render.svg import Caption
from offwake.analyzer.render.tree import Frame
from tests.analyzer.test_compare import steady
from tests.render.profiles import HOSTILE, large_profile

BEFORE = {"same": 100, "more": 100, "less": 100, "gone": 50, "tiny": 1, "calls_it": 100, "calls": 0}
AFTER = {"same": 100, "more": 190, "less": 60, "new": 70, "tiny": 2, "calls_it": 100, "calls": 50}


@pytest.fixture(scope="module")
def shown() -> Comparison:
    return compared((steady(**BEFORE), steady(**AFTER)))


def frame(shown: Comparison, *names: str) -> int:
    """Return the row of a frame in the comparison's tree."""
    return next(row for row in range(len(shown.union.first)) if shown.union.path(row) == names)


def channels(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def test_more_is_red_less_is_blue_new_is_yellow_and_the_rest_grey(shown: Comparison) -> None:
    shades = Shades(shown)
    assert shades.colour(frame(shown, "same")) == shades.colour(frame(shown, "tiny")) == GREY
    assert shades.colour(frame(shown, "new")) == NEW
    red, _, blue = channels(shades.colour(frame(shown, "more")))
    assert red > blue
    for less in ("less", "gone"):
        red, _, blue = channels(shades.colour(frame(shown, less)))
        assert blue > red
    assert channels(shades.colour(frame(shown, "gone")))[0] < channels(shades.colour(frame(shown, "less")))[0], "deeper"


def test_no_colour_is_green(shown: Comparison) -> None:
    for colour, _ in Shades(shown).legend:
        red, green, blue = channels(colour)
        assert green <= max(red, blue)


def test_the_hover_line_says_before_after_self_and_whether_it_stands_out(shown: Comparison) -> None:
    words = Shades(shown).words
    same = words(frame(shown, "same"))
    assert same.startswith("12.8 ms/s before, 12.8 ms/s after (±0 ns/s, the same): does not stand out")
    assert words(frame(shown, "more")).startswith("12.8 ms/s before, 24.3 ms/s after (+11.5 ms/s, +90 %): stands out")
    assert words(frame(shown, "gone")).startswith("6.40 ms/s before, 0 ns/s after (−6.40 ms/s, gone): stands out")
    assert "self 0 ns/s before, 6.40 ms/s after (+6.40 ms/s, new): stands out" in words(frame(shown, "calls"))
    assert words(frame(shown, "tiny")) == "128 µs/s before, 256 µs/s after: less than 1 % of all", "it was not tested"


def test_widths_are_before_after_or_the_larger_of_both(shown: Comparison) -> None:
    widths = {
        layout: {name: frame.value_ns // 128_000 for name, frame in _children(shown, layout).items()}
        for layout in ("before", "after", "both")
    }
    for name in ("same", "more", "less", "gone", "new"):
        before, after = BEFORE.get(name, 0), AFTER.get(name, 0)
        assert widths["before"][name] == before
        assert widths["after"][name] == after
        assert widths["both"][name] == max(before, after)


def _children(shown: Comparison, layout: str) -> dict[str, Frame]:
    return dict(difference_tree(shown, layout).root.children)


@pytest.mark.parametrize(("stacks", "depth"), [(45_000, 5), (6_500, 20), (1_200, 100)])
def test_a_comparison_of_a_hundred_thousand_frames_is_at_most_500_kb(stacks: int, depth: int) -> None:
    sides = Side(large_profile(stacks, depth), 1.0), Side(large_profile(stacks, depth, seed=8), 1.0)
    shown = compared(sides)
    assert len(shown.union.first) > 100_000
    assert len(difference_graph(shown, "both", Caption("a title")).encode()) <= 500_000


def test_words_for_every_frame_that_is_drawn_leave_a_picture_small() -> None:
    profiles = Profile("off-cpu"), Profile("off-cpu")
    for number in range(6_000):
        function = f"a_function_with_a_longer_name_{number}"
        for names in (("server", function), ("server", function, "read_[k]")):
            for more, profile in enumerate(profiles, 1):
                profile.add(names, 1_000_000 + 7_919 * more * number % 1_000_000)
    picture = difference_graph(compared((Side(profiles[0], 1.0), Side(profiles[1], 1.0))), "both", Caption("a title"))
    assert len(picture.encode()) <= 500_000


def test_a_file_is_strict_xml_whatever_names_are(shown: Comparison) -> None:
    sides = (steady(x=100), steady(x=100))
    for side in sides:
        weight = side.profile.weights[("x",)]
        side.profile.weights = {(name, "y"): weight for name in HOSTILE}
    picture = difference_graph(compared(sides), "both", Caption("a title", "", tuple(HOSTILE)))
    svg = ElementTree.fromstring(picture)
    data = json.loads(svg.findtext("{http://www.w3.org/2000/svg}metadata") or "")
    assert len(data["says"]["of"]) == len(data["frames"])
    assert data["says"]["texts"][data["says"]["of"][0]]


def test_a_picture_names_its_colours(shown: Comparison) -> None:
    picture = difference_graph(shown, "both", Caption("a title"))
    for colour, words in Shades(shown).legend:
        assert f'fill="{colour}"' in picture and words in picture
    assert re.search(r"\(\d+ frames tested\)", picture)


def test_ratios() -> None:
    assert [ratio(0, 0), ratio(0, 1), ratio(1, 0), ratio(2, 3), ratio(3, 2)] == [
        "the same",
        "new",
        "gone",
        "+50 %",
        "-33 %",
    ]
