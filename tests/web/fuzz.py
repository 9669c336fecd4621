"""Fuzzed requests: every path and field of the viewer with values that do not belong there."""

import json
import string
import xml.etree.ElementTree as ET
from random import Random

from flask.testing import FlaskClient

from offwake.web.asks import SELECTION_FIELDS, VIEW_FIELDS
from tests.web.test_pages import EVERY

__all__ = ["fuzz"]

FIELDS = [
    *SELECTION_FIELDS,
    *VIEW_FIELDS,
    "zoom",
    "search",
    "icase",
    "icicle",
    "offset",
    "sort",
    "down",
    "first",
    "each",
]
FIELDS += ["around_from", "around_to", "token", "nothing"]
VALUES = [
    "",
    "1",
    "-1",
    "0",
    "0.5",
    "1e9",
    "0.0001",
    "4294967295",
    "x" * 600,
    "(",
    "\x00",
    "é🦔",
    "%",
    "nan",
    "../..",
    "<b>",
]
VALUES += [
    "٣",
    "tid",
    "0x10",
    "a|b",
    "(a+)+$",
    "thread",
    "path",
    "comm",
    "S,D",
    "\ufffe",
    "*",
    "[",
    "]]>",
    "'",
    '"',
    "&",
]
FORMS = ("", ".svg", ".json", ".csv", ".folded", ".txt")
OTHER_PATHS = (
    "/",
    "/recording/\x00/",
    "/recording/../../etc/passwd",
    "/picture/../app.py",
    "/static/../app.py",
    "/\xff",
)
CHARACTERS = string.printable + "\xff\xfe\x00"
METHODS = ("GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS")


def fuzz(client: FlaskClient, base: str, seed: int, requests: int) -> None:
    """Ask so many times; no answer is a 500, and what is sent as JSON or SVG is well-formed."""
    chosen = Random(seed)
    paths = [f"{base}{kind}/{name}{form}" for kind, name in EVERY for form in FORMS]
    paths += [*OTHER_PATHS, base, base + "overview.svg"]
    for _ in range(requests):
        asked = [(chosen.choice(FIELDS), chosen.choice(VALUES)) for _ in range(chosen.randrange(5))]
        path = chosen.choice(paths)
        if chosen.random() < 0.1:
            path = "/" + "".join(chosen.choices(CHARACTERS, k=20))
        method = chosen.choice(METHODS)
        where = {"PATH_INFO": path}  # as it is: a client would refuse or mend some paths
        answer = client.open(method=method, query_string=dict(asked), buffered=True, environ_overrides=where)
        assert answer.status_code < 500, (method, path, asked)
        if answer.status_code == 200 and method == "GET":
            if path.endswith(".json"):
                json.loads(answer.data)
            if path.endswith(".svg"):
                ET.fromstring(answer.data)
