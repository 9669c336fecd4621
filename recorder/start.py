"""When a recording begins: at a moment of the wall clock, so that the recordings of many hosts cover the same time.

Everything that takes its time is done before that: the programs are compiled, the output is there.
"""

import math
import re
import select
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import time

from offwake.errors import UsageError
from offwake.recorder.signals import Stopper

__all__ = ["Start", "wait_for"]

CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
LOOK_EVERY_S = 1.0  # the wall clock may be set meanwhile
LATEST_S = 253_402_300_800.0  # the year 10000


@dataclass(frozen=True)
class Start:
    """`at`, in seconds since 1970; or, where that is None, at the next multiple of `align_s`."""

    at: float | None = None
    align_s: float = 1.0

    @staticmethod
    def parse(start_at: str | None, align_s: float | None) -> "Start | None":
        """Read `--start-at` and `--align`; None without either. Raises UsageError."""
        if start_at is not None and align_s is not None:
            raise UsageError("--start-at and --align: give one of them")
        if align_s is not None:
            if not 1 <= align_s <= 86_400:
                raise UsageError(f"--align {align_s:g}: it is a number of seconds, from 1 to 86400")
            return Start(align_s=align_s)
        return None if start_at is None else Start(_moment(start_at))

    def moment(self, now: float) -> float:
        """Return when to begin, in seconds since 1970, for who asks at `now`."""
        return self.at if self.at is not None else (math.floor(now / self.align_s) + 1) * self.align_s


def wait_for(moment: float, stopper: Stopper, tell: Callable[[float], None]) -> None:
    """Wait until the wall clock shows `moment`; `tell` how many seconds are left. A signal gives up (Stopper.check)."""
    poller = select.poll()
    poller.register(stopper.fd, select.POLLIN)
    while (left := moment - time()) > 0:
        tell(left)
        poller.poll(math.ceil(min(left, LOOK_EVERY_S) * 1000))
        stopper.check()
        stopper.heard()
    stopper.check()


def _moment(text: str) -> float:
    """Read @SECONDS, HH:MM[:SS] of today or tomorrow, or ISO 8601, in local time where it names no zone."""
    now = datetime.now()
    try:
        if text.startswith("@"):
            moment = float(text[1:])
        elif CLOCK.fullmatch(text):
            hour, minute, second = (*map(int, text.split(":")), 0)[:3]
            today = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
            moment = (today if today > now else today + timedelta(days=1)).timestamp()
        else:
            moment = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--start-at {text}: it is a time such as 14:30, 2030-01-31T14:30:00Z or @1900000000 (seconds since 1970)"
        ) from error
    if not moment > now.timestamp():
        raise UsageError(f"--start-at {text}: that has been already; give a time to come")
    if moment > LATEST_S:
        raise UsageError(f"--start-at {text}: nobody waits for so long")
    return moment
