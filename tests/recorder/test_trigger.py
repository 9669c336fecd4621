"""What `--trigger` may say."""

import pytest

from offwake.errors import UsageError
from offwake.recorder.programs.trigger import Trigger


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ("blocked > 500ms", Trigger(500_000_000)),
        ("blocked>1.5s", Trigger(1_500_000_000)),
        (" blocked > 20 us comm=nginx ", Trigger(20_000, "nginx")),
        ("blocked > 1ms pid=12 comm=a=b", Trigger(1_000_000, "a=b", 12)),
        ("blocked > 7ns comm=fifteen-letters", Trigger(7, "fifteen-letters")),
    ],
)
def test_triggers(text: str, trigger: Trigger) -> None:
    assert Trigger.parse(text) == trigger


@pytest.mark.parametrize(
    "text",
    [
        "",
        "blocked",
        "blocked > 500",
        "blocked < 500ms",
        "blocked > 500msx",
        "blocked > 500mscomm=x",
        "blocked > 0ms",
        "blocked > 99999999999s",
        "running > 5ms",
        "blocked > 5ms nginx",
        "blocked > 5ms comm=",
        "blocked > 5ms comm=a comm=b",
        "blocked > 5ms tid=4",
        "blocked > 5ms comm=sixteen-letters-",
        "blocked > 5ms pid=0",
        "blocked > 5ms pid=-1",
        "blocked > 5ms pid=99999999",
    ],
)
def test_what_is_no_trigger(text: str) -> None:
    with pytest.raises(UsageError, match="--trigger"):
        Trigger.parse(text)
