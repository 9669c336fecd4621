"""Formats of tracepoints, as tracefs prints them."""

import pytest

from offwake.errors import CannotRecord
from offwake.recorder.kernel.tracefs import parse_format

COMMON = """name: block_rq_issue
ID: 2104
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

"""


FIELDS = (
    ("dev_t dev", 8, 4),
    ("sector_t sector", 16, 8),
    ("char rwbs[10]", 24, 10),
    ("__data_loc char[] cmd", 36, 4),
    ("unsigned long args[6]", 40, 48),
    ("bool last", 88, 1),
)


def test_fields_have_the_types_that_they_have_in_c() -> None:
    lines = (f"\tfield:{words};\toffset:{at};\tsize:{size};\tsigned:0;\n" for words, at, size in FIELDS)
    found = parse_format(COMMON + "".join(lines))
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
