"""Formats of tracepoints, as tracefs prints them."""

import pytest

from offwake.errors import CannotRecord
from offwake.recorder.tracefs import parse_format

COMMON = """name: block_rq_issue
ID: 2104
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

"""


def test_fields_have_the_types_that_they_have_in_c() -> None:
    found = parse_format(
        COMMON + "\tfield:dev_t dev;\toffset:8;\tsize:4;\tsigned:0;\n\tfield:sector_t sector;\toffset:16;\tsize:8;\tsigned:0;\n"
        "\tfield:char rwbs[10];\toffset:24;\tsize:10;\tsigned:0;\n\tfield:__data_loc char[] cmd;\toffset:36;\tsize:4;\tsigned:0;\n"
        "\tfield:unsigned long args[6];\toffset:40;\tsize:48;\tsigned:0;\n\tfield:bool last;\toffset:88;\tsize:1;\tsigned:0;\n"
    )
    assert (found.id, found.size) == (2104, 89)
    assert [(one.name, one.type, one.at) for one in found.fields] == [
        ("common_pid", "i4", 4),
        ("dev", "u4", 8),
        ("sector", "u8", 16),
        ("rwbs", "S10", 24),
        ("cmd", "u4", 36),
        ("args", "V48", 40),
        ("last", "u1", 88),
    ]
    assert [one.name for one in found.fields if one.is_elsewhere] == ["cmd"]


def test_a_format_without_an_id_is_a_sentence() -> None:
    with pytest.raises(CannotRecord, match="cannot be read"):
        parse_format("format:\n")
