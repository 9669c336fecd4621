"""Frame trees: sums, order, pruning and addresses of frames."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from offwake.analyzer.profile import Profile
from offwake.analyzer.render.layout import BOXES_AT_MOST, boxes
from offwake.analyzer.render.text import printable
from offwake.analyzer.render.tree import Frame, FrameTree, functions, matched_ns
from tests.render.profiles import hostile_profile, large_profile, small_profile


def at(tree: FrameTree, *names: str) -> Frame:
    frame = tree.root
    for name in names:
        frame = frame.children[name]
    return frame


def test_every_frame_is_the_sum_of_what_it_called_and_its_own() -> None:
    profile = large_profile()
    tree = FrameTree(profile)
    assert tree.root.value_ns == profile.total_ns
    assert sum(frame.self_ns for frame in tree) == profile.total_ns
    assert all(frame.self_ns >= 0 for frame in tree)


def test_siblings_are_alphabetical_and_do_not_overlap() -> None:
    laid = boxes(FrameTree(large_profile()).root, 1180)
    rows: dict[int, list[tuple[int, int]]] = {}
    for box in laid:
        rows.setdefault(box.depth, []).append((box.begin_ns, box.begin_ns + box.value_ns))
    for row in rows.values():
        assert all(left[1] <= right[0] for left, right in pairwise(sorted(row)))
    depth_1 = [box.name for box in boxes(FrameTree(small_profile()).root, 1180) if box.depth == 1]
    assert depth_1 == ["nginx", "redis", "sh"]


def test_narrow_frames_are_folded_into_other_without_losing_time() -> None:
    profile = Profile("off-cpu")
    profile.add(("big",), 1_000_000)
    for number in range(100):
        profile.add((f"tiny{number:03}",), 50)  # 0.06 px of 1,180 each, 6 px together
    root, *children = boxes(FrameTree(profile).root, 1180)
    assert [(box.name, box.value_ns) for box in children] == [("big", 1_000_000), ("other", 5_000)]
    assert children[-1].begin_ns + children[-1].value_ns == root.value_ns
    assert children[-1].key == 0


def test_a_tenth_of_a_pixel_is_drawn_and_less_is_not() -> None:
    profile = Profile("off-cpu")
    profile.add(("big",), 1_000_000 - 190)
    profile.add(("drawn",), 100)
    profile.add(("folded",), 90)
    assert [box.name for box in boxes(FrameTree(profile).root, 1000)] == ["all", "big", "drawn"]


def test_a_sliver_does_not_make_a_picture_high() -> None:
    profile = Profile("chain")
    profile.add(("wide", *(f"w{number}" for number in range(70))), 970)
    profile.add(("thin", *(f"t{number}" for number in range(300))), 15)
    profile.add(("few", *(f"f{number}" for number in range(40))), 15)
    tree = FrameTree(profile)
    laid = boxes(tree.root, 1180)
    assert {box.name for box in laid if box.depth == 71} == {"w69", "t69"}  # as high as the wide one, all are drawn
    assert [(box.name, box.value_ns) for box in laid if box.depth > 71] == [("other", 15)]
    del profile.weights["wide", *(f"w{number}" for number in range(70))]
    profile.add(("wide",), 970)
    tree = FrameTree(profile)
    laid = boxes(tree.root, 1180)
    assert max(box.depth for box in laid) == 49
    assert [(box.name, box.value_ns) for box in laid if box.depth == 49] == [("other", 15)]
    zoomed = boxes(at(tree, "thin", "t0"), 1180)
    assert max(box.depth for box in zoomed) == 301


def test_however_many_are_visible_only_the_widest_are_drawn() -> None:
    profile = Profile("off-cpu")
    for number in range(6_000):
        profile.add(("server", f"a{number}", f"b{number}", f"c{number}"), 1_000)
    laid = boxes(FrameTree(profile).root, 1180)
    assert BOXES_AT_MOST / 2 <= len(laid) <= BOXES_AT_MOST
    assert sum(box.value_ns for box in laid if box.depth == 2) == profile.total_ns


def test_a_zoomed_layout_has_the_ancestors_then_the_frame() -> None:
    tree = FrameTree(small_profile())
    laid = boxes(at(tree, "nginx", "main"), 1180)
    assert [(box.name, box.depth, box.ancestor) for box in laid[:4]] == [
        ("all", 0, True),
        ("nginx", 1, True),
        ("main", 2, False),
        ("futex_[k]", 3, False),
    ]
    assert laid[2].begin_ns == 0
    assert {box.name for box in laid if not box.waker} == {"all", "nginx", "main", "futex_[k]", "read_[k]"}


def test_the_key_of_every_box_finds_its_frame_again() -> None:
    tree = FrameTree(large_profile(stacks=500))
    for box in boxes(tree.root, 1180):
        found = tree.find(box.key)
        if box.key:
            assert found is not None and found.name == box.name and len(found.path()) == box.depth + 1
    assert tree.find(12345) is None


def test_a_key_survives_a_change_of_the_rest_of_the_profile() -> None:
    whole, part = small_profile(), Profile("off-wake")
    part.add(("nginx", "main", "other work"), 1)
    key = next(box.key for box in boxes(FrameTree(whole).root, 1180) if box.name == "main")
    found = FrameTree(part).find(key)
    assert found is not None and [frame.name for frame in found.path()] == ["all", "nginx", "main"]


def test_the_matched_share_counts_no_time_twice() -> None:
    tree = FrameTree(small_profile())
    assert matched_ns(tree.root, frozenset({"nginx"})) == 60_000_000
    assert matched_ns(tree.root, frozenset({"nginx", "main", "reply"})) == 60_000_000
    assert matched_ns(tree.root, frozenset({"reply", "epoll_[k]"})) == 70_000_000
    assert matched_ns(tree.root, frozenset({"all"})) == 100_000_000
    assert matched_ns(tree.root, frozenset()) == 0


def test_functions_count_a_recursion_once() -> None:
    profile = Profile("on-cpu")
    profile.add(("sh", "walk", "walk", "walk"), 30)
    profile.add(("sh", "walk"), 12)
    profile.add(("sh", "other work"), 5)
    assert functions(FrameTree(profile).root) == [
        ("walk", 42, 42),
        ("other work", 5, 5),
        ("all", 0, 47),
        ("sh", 0, 47),
    ]


def test_frames_whose_names_print_alike_are_one_and_nothing_is_lost() -> None:
    profile = Profile("off-cpu")
    profile.add(("a\x00",), 3)
    profile.add(("a\x01",), 4)
    assert [(frame.name, frame.value_ns) for frame in FrameTree(profile).root.children.values()] == [("a�", 7)]
    hostile = hostile_profile(1000)
    assert sum(frame.self_ns for frame in FrameTree(hostile)) == hostile.total_ns


STACKS = st.dictionaries(
    st.lists(st.sampled_from(["a", "b", "c", "\x00", "\x01"]), max_size=7).map(tuple), st.integers(0, 1000), max_size=15
)


@given(STACKS)
def test_a_tree_has_every_path_once_with_the_time_of_all_stacks_along_it(weights: dict[tuple[str, ...], int]) -> None:
    profile, expected = Profile("off-cpu"), Counter[tuple[str, ...]]()
    for frames, value_ns in weights.items():
        profile.add(frames, value_ns)
        path = ("all", *map(printable, frames))
        for length in range(1, len(path) + 1):
            expected[path[:length]] += value_ns
    expected[("all",)] += 0
    tree = FrameTree(profile)
    paths = [tuple(frame.name for frame in row.path()) for row in tree]
    assert paths == sorted(expected)
    assert [row.value_ns for row in tree] == [expected[path] for path in sorted(expected)]
    assert sum(row.self_ns for row in tree) == sum(weights.values())
    for name in ("a", "b"):
        matched = sum(value_ns for frames, value_ns in weights.items() if name in frames)
        assert matched_ns(tree.root, frozenset({name})) == matched
        assert {row.name: row.total_ns for row in functions(tree.root)}.get(name, 0) == matched
