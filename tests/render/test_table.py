"""Tables as text, CSV and JSON."""

import csv
import io

from offwake.analyzer.render.documents import table_document
from offwake.analyzer.render.table import csv_table, text_table
from offwake.analyzer.tables import Column, Table

TABLE = Table(
    "threads",
    (Column("tid", "id"), Column("comm", "text"), Column("blocked_ns", "ns"), Column("switches", "count")),
    [
        {"tid": 7, "comm": "nginx", "blocked_ns": 12_345_678, "switches": 1234},
        {"tid": 12345, "comm": 'evil",\x1b[31m\n', "blocked_ns": None, "switches": 0},
    ],
)


def test_text_is_aligned_and_for_people() -> None:
    assert text_table(TABLE).splitlines() == [
        "  tid  comm          blocked  switches",
        "    7  nginx         12.3 ms     1,234",
        '12345  evil",�[31m�        -         0',
    ]


def test_csv_keeps_nanoseconds_and_leaves_the_unknown_empty() -> None:
    rows = list(csv.reader(io.StringIO(csv_table(TABLE))))
    assert rows == [
        ["tid", "comm", "blocked_ns", "switches"],
        ["7", "nginx", "12345678", "1234"],
        ["12345", 'evil",�[31m�', "", "0"],
    ]


def test_json_rows_have_every_column() -> None:
    assert table_document(TABLE)[1] == {"tid": 12345, "comm": 'evil",\x1b[31m\n', "blocked_ns": None, "switches": 0}


def test_an_empty_table_still_has_its_headings() -> None:
    assert text_table(Table("threads", TABLE.columns, [])) == "tid  comm  blocked  switches\n"
