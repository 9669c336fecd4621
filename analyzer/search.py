"""Search: names that match a regular expression, within a time limit.

The expression comes from a user and the names from strangers. Python's `re` can need exponential time for a match and
holds the interpreter meanwhile, so compiling and matching run in a child process that can be stopped. Only names are
sent, each once, however many stacks share them.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable

from offwake.errors import UsageError

__all__ = ["matching_names"]

PATTERN_LENGTH_AT_MOST = 500
SECONDS_AT_MOST = 2.0

_CHILD = """
import json, re, sys
pattern, flags, names = json.load(sys.stdin)
try:
    found = re.compile(pattern, flags).search
except (re.error, OverflowError, RecursionError) as error:
    json.dump(str(error), sys.stdout)
else:
    json.dump([i for i, name in enumerate(names) if found(name)], sys.stdout)
"""


def matching_names(pattern: str, names: Iterable[str], ignore_case: bool = False) -> frozenset[str]:
    """Return the names in which the regular expression is found.

    Raises UsageError when it is none, is longer than 500 characters, or was not done within two seconds.
    """
    if len(pattern) > PATTERN_LENGTH_AT_MOST:
        raise UsageError(f"the regular expression is longer than {PATTERN_LENGTH_AT_MOST} characters; shorten it")
    names = list(names)
    answer = _ask_child(json.dumps([pattern, re.IGNORECASE if ignore_case else 0, names]))
    if isinstance(answer, str):
        raise UsageError(f"{pattern!r} is no regular expression: {answer}")
    if answer is None:
        raise UsageError(f"{pattern!r} was not matched within {SECONDS_AT_MOST:.0f} s; avoid repeats inside repeats")
    return frozenset(names[index] for index in answer)


def _ask_child(request: str) -> list[int] | str | None:
    """Return the indices that match, what is wrong with the expression, or None when time or memory ran out."""
    command = [sys.executable, "-I", "-S", "-c", _CHILD]
    try:
        done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=SECONDS_AT_MOST)
    except subprocess.TimeoutExpired:
        return None
    answer: list[int] | str | None = json.loads(done.stdout) if done.returncode == 0 else None
    return answer
