"""What of stacks is shown: frames hidden, and stacks parted at a function; no time is lost or counted twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offwake.analyzer.profile import Profile
from offwake.analyzer.render.sandwich import frame_tree
from offwake.analyzer.render.tree import functions
from offwake.analyzer.shape import halves, shaped
from offwake.analyzer.views import ViewOptions
from offwake.errors import UsageError

FRAMES = st.lists(st.sampled_from(["a", "b", "c", "--"]), min_size=1, max_size=8).map(tuple)
PROFILES = st.dictionaries(FRAMES, st.integers(1, 1000), min_size=1, max_size=12)


def profile_of(weights: dict[tuple[str, ...], int]) -> Profile:
    profile = Profile("off-wake")
    for frames, value_ns in weights.items():
        profile.add(frames, value_ns)
    return profile


@pytest.mark.parametrize(
    ("stack", "callers", "callees"),
    [
        ("sh main f g", "main sh", "g"),
        ("f", "", ""),
        ("sh f g f h", "sh", "g f h"),  # the outermost call
        ("sh f -- wake write pg", "sh", "-- wake write pg"),
        ("sh read -- wake write f main pg", "main pg", "write wake -- read sh"),
        ("sh read -- wake f g f main pg", "main pg", "g f wake -- read sh"),
        ("sh read -- wake f pg -- f vda", "pg -- f vda", "wake -- read sh"),
        ("sh f -- f pg", "sh", "-- f pg"),
    ],
)
def test_a_stack_is_parted_at_a_function(stack: str, callers: str, callees: str) -> None:
    assert halves(tuple(stack.split()), "f") == (tuple(callers.split()), tuple(callees.split()))


def test_a_stack_without_the_function_is_not_parted() -> None:
    assert halves(("sh", "main"), "f") is None


@given(PROFILES, st.sampled_from("abc"))
def test_both_halves_of_a_sandwich_hold_all_of_its_time_once(
    weights: dict[tuple[str, ...], int], name: str
) -> None:
    profile = profile_of(weights)
    expected_ns = sum(value_ns for frames, value_ns in weights.items() if name in frames)
    below = frame_tree(profile, name)
    assert below.callers is not None
    assert below.root.name == below.callers.root.name == name
    assert below.root.value_ns == below.callers.root.value_ns == expected_ns
    assert {row.name: row.total_ns for row in functions(frame_tree(profile).root)}.get(name, 0) == expected_ns
    narrowed = shaped(profile, lambda: profile, None, ViewOptions(sandwich=name))
    assert narrowed.total_ns == expected_ns and frame_tree(narrowed, name).root.value_ns == expected_ns


def test_a_sandwich_says_who_called_and_what_was_called() -> None:
    tree = frame_tree(profile_of({("sh", "a", "f", "x"): 5, ("sh", "b", "f", "y"): 7, ("sh", "b", "z"): 11}), "f")
    assert tree.callers is not None
    assert {name: frame.value_ns for name, frame in tree.root.children.items()} == {"x": 5, "y": 7}
    assert {name: frame.value_ns for name, frame in tree.callers.root.children.items()} == {"a": 5, "b": 7}
    assert [frame.name for frame in tree.callers if frame.name == "sh"] == ["sh", "sh"]


@given(PROFILES, st.sampled_from(["a", "b|c", "-", "[ab]", "."]))
def test_hiding_frames_keeps_all_time_and_what_they_called(weights: dict[tuple[str, ...], int], pattern: str) -> None:
    hidden = {"a": {"a"}, "b|c": {"b", "c"}, "-": {"--"}, "[ab]": {"a", "b"}, ".": {"a", "b", "c", "--"}}[pattern]
    expected: dict[tuple[str, ...], int] = {}
    for frames, value_ns in weights.items():
        kept = tuple(name for name in frames if name not in hidden) or ("[hidden]",)
        expected[kept] = expected.get(kept, 0) + value_ns
    found = shaped(profile_of(weights), lambda: Profile("off-wake"), None, ViewOptions(hide=pattern))
    assert {frames: weight.value_ns for frames, weight in found.weights.items()} == expected


def test_what_is_hidden_as_idle_is_counted_of_the_same_stacks() -> None:
    shown, whole = profile_of({("sh", "f"): 5}), profile_of({("sh", "f"): 5, ("idle", "f"): 70, ("idle", "g"): 900})
    shown.hidden_ns = 970
    assert shaped(shown, lambda: whole, None, ViewOptions(sandwich="f")).hidden_ns == 70
    assert shaped(shown, lambda: whole, "^[gf]$", ViewOptions()).hidden_ns == 970
    assert shaped(shown, lambda: whole, "^g$", ViewOptions(sandwich="f")).hidden_ns == 0


def test_what_is_no_expression_is_refused() -> None:
    with pytest.raises(UsageError, match="is no regular expression"):
        shaped(Profile("off-cpu"), lambda: Profile("off-cpu"), None, ViewOptions(hide="("))
