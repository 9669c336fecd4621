"""Durations, counts, shares, and what is left of hostile names."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offwake.analyzer.render.svg import cut, escape
from offwake.analyzer.render.text import count, counted, duration, percent, printable, size


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (12_345, "12.3 µs"),
        (12_345_678, "12.3 ms"),
        (9_999_999, "10.0 ms"),
        (123_456_789, "123 ms"),
        (1_234_567_890, "1.23 s"),
        (4_321_000_000_000, "4,321 s"),
        (-12_345, "-12.3 µs"),
    ],
)
def test_durations_have_three_significant_digits(ns: int, text: str) -> None:
    assert duration(ns) == text


def test_sizes_counts_and_shares() -> None:
    sizes = [size(number) for number in (0, 512, 4096, 999_999, 1_500_000_000)]
    assert sizes == ["0 B", "512 B", "4.10 kB", "1.00 MB", "1.50 GB"]
    assert count(1234567) == "1,234,567"
    assert [counted(number, "wait") for number in (0, 1, 1234)] == ["0 waits", "1 wait", "1,234 waits"]
    assert percent(1, 3) == "33.33 %"
    assert percent(1, 3, 1) == "33.3 %"
    assert percent(0, 0) == "0.00 %"


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_becomes_well_formed_xml_and_no_terminal_escape(text: str) -> None:
    safe = printable(text)
    assert len(safe) == len(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in safe)
    element = ET.fromstring(f'<a b="{escape(text)}">{escape(text)}</a>'.encode())
    assert element.text == safe or (element.text is None and not safe)
    assert element.get("b") == safe


@given(st.text(min_size=1), st.integers(0, 400))
def test_a_label_never_has_more_characters_than_fit(text: str, width: int) -> None:
    shown = cut(text, width, 12)
    assert len(shown) * 12 * 0.603 <= width
    assert shown in ("", text) or shown == text[: len(shown) - 2] + ".."
