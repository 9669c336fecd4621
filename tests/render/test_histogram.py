"""Histograms as text and as a document."""

from offwake.analyzer.histogram import Histogram, Histograms
from offwake.analyzer.render.documents import histogram_document
from offwake.analyzer.render.histogram import text_histogram

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
