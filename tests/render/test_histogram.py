"""Histograms as text, as a document and as a picture."""

from xml.etree import ElementTree

from offwake.analyzer.histogram import Histogram, Histograms
from offwake.analyzer.render.bars import bar_chart
from offwake.analyzer.render.documents import histogram_document
from offwake.analyzer.render.histogram import text_histogram
from offwake.analyzer.render.svg import Caption

READS = Histogram({"device": "vda", "operation": "read"}, 0, [3, 0, 100], 400, 4_100, 7_000, 7_000)
WRITES = Histogram({"device": "vda", "operation": "write"}, 10_000_000_000, [1], 900, 900, 900, 900)
FOUND = Histograms("block-io", "usecs", [0, 10_000_000_000, 20_000_000_000], [READS, WRITES], 10_000_000_000, 5, 1)


def test_text_is_what_biolatency_prints_with_exact_figures_below() -> None:
    assert text_histogram(FOUND, "2026-11-22T23:59:55.500+00:00").splitlines() == [
        "23:59:55 UTC, 0 s – 10 s",
        "",
        "device = vda, operation = read",
        "     usecs               : count    distribution",
        "         0 -> 1          : 3        |*                                       |",
        "         2 -> 3          : 0        |                                        |",
        "         4 -> 7          : 100      |****************************************|",
        "     103 in all, p50 4.10 µs, p99 7.00 µs, max 7.00 µs",
        "",
        "00:00:05 UTC, 10 s – 20 s",
        "",
        "device = vda, operation = write",
        "     usecs               : count    distribution",
        "         0 -> 1          : 1        |****************************************|",
        "     1 in all, p50 900 ns, p99 900 ns, max 900 ns",
        "",
        "00:00:15 UTC, 20 s – 30 s",
    ]


def test_buckets_beyond_32_bits_make_the_columns_wider() -> None:
    text = text_histogram(Histograms("off-cpu", "nsecs", [0], [Histogram({}, 0, [0] * 32 + [1], 1, 1, 1, 1)]))
    assert text.splitlines()[0] == "               nsecs                         : count    distribution"
    assert text.splitlines()[-2].startswith("          4294967296 -> 8589934591           : 1        |*")


def test_hostile_labels_cannot_steer_a_terminal() -> None:
    text = text_histogram(Histograms("off-cpu", "nsecs", [0], [Histogram({"comm": "\x1b[2J\n"}, 0, [1], 1, 1, 1, 1)]))
    assert text.splitlines()[0] == "comm = \ufffd[2J\ufffd"


def test_nothing_is_said_to_be_nothing() -> None:
    assert text_histogram(Histograms("off-cpu", "usecs", [0], [])) == "nothing to show\n"


def test_the_picture_has_a_bar_for_every_bucket_on_one_scale() -> None:
    picture = ElementTree.fromstring(bar_chart(FOUND, Caption("block-io & co")))
    assert not list(picture.iter("{http://www.w3.org/2000/svg}script"))
    bars = [bar for bar in picture.iter("{http://www.w3.org/2000/svg}rect") if bar.get("height") == "12"]
    widths = [float(bar.get("width", "")) for bar in bars]
    assert len(widths) == 4
    assert widths[1] == 0
    assert widths[2] == max(widths)
    assert abs(widths[0] / widths[2] - 0.03) < 0.001
    assert abs(widths[3] / widths[2] - 0.01) < 0.001
    words = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "0 ns – 10.0 s, device = vda, operation = read: 103" in words
    empty = bar_chart(Histograms("block-io", "usecs", [], []), Caption("x"))
    assert "nothing to show" in empty


def test_the_document_has_every_bucket_in_nanoseconds() -> None:
    document = histogram_document(FOUND)
    assert {key: document[key] for key in ("of", "unit", "interval_ns", "total", "hidden_ns", "open")} == {
        "of": "block-io",
        "unit": "ns",
        "interval_ns": 10_000_000_000,
        "total": 104,
        "hidden_ns": 5,
        "open": 1,
    }
    assert document["histograms"][0] == {
        "by": READS.by,
        "start_ns": 0,
        "count": 103,
        "min_ns": 400,
        "p50_ns": 4_100,
        "p99_ns": 7_000,
        "max_ns": 7_000,
        "buckets": [[0, 2_000, 3], [2_000, 4_000, 0], [4_000, 8_000, 100]],
    }
