"""Dropped TCP packets: why, and from which stack: `--view tcp-drop`, weighted by packets."""

import numpy as np

from offwake.analyzer.connections import Events, Gathering, connection_events
from offwake.analyzer.decode import Rows
from offwake.analyzer.naming import Naming
from offwake.analyzer.profile import Profile
from offwake.analyzer.recording import Recording
from offwake.analyzer.replay import Batch
from offwake.analyzer.scope import Scope
from offwake.analyzer.views import ViewOptions

__all__ = ["KIND", "Drops", "drops", "reason_name"]

KIND = "tcp_drop"
PURGE = "QUEUE_PURGE"
_NOTHING = np.empty(0, [("socket", "<u8"), ("reason", "<u4"), ("length", "<u4")])
NOTHING = Rows(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int32), _NOTHING)
ENUM, PREFIX = "skb_drop_reason", "SKB_DROP_REASON_"
NO_SPACE = -1  # the stacks are the kernel's


def reason_name(recording: Recording, reason: int) -> str:
    """Return what the recording's kernel called a reason; kernels number them differently."""
    name: str = recording.keyframe["enums"].get(ENUM, {}).get(reason, str(reason))
    return name.removeprefix(PREFIX)


def drops(scope: Scope, gathering: Gathering) -> Events:
    """Return the selected drops that a pass has gathered (KIND).

    When a socket goes, what is left in its queue is purged. Of that only what nobody has read is a drop: the FIN of an
    orderly end has no bytes.
    """
    rows = gathering.rows().get(KIND, NOTHING)
    numbers = [number for number in set(rows.payload["reason"].tolist()) if reason_name(scope.recording, number) == PURGE]
    is_end = np.isin(rows.payload["reason"], numbers) & (rows.payload["length"] == 0)
    return connection_events(scope, gathering.sessions, rows.where(~is_end))


class Drops:
    """Collects drops; the first frame is the reason."""

    def __init__(self, scope: Scope, options: ViewOptions) -> None:
        self._scope, self._gathering = scope, Gathering((KIND,))

    def feed(self, batch: Batch) -> None:
        """Take a batch's events."""
        self._gathering.feed(batch)

    def profile(self, naming: Naming) -> Profile:
        """Return the stacks."""
        found, events = Profile("", unit="packets"), drops(self._scope, self._gathering)
        for reason, stack in zip(events.rows.payload["reason"].tolist(), events.rows.stack.tolist(), strict=True):
            found.add((reason_name(self._scope.recording, reason), *naming.root_first(stack, NO_SPACE)), 1)
        return found
