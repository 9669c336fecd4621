"""The view `events`: where traced events happened, weighted by how many there were."""

import numpy as np

from offwake.analyzer.gathered import are_selected
from offwake.analyzer.groups import Weights
from offwake.analyzer.naming import Frames, Naming
from offwake.analyzer.profile import Profile
from offwake.analyzer.replay import Batch
from offwake.analyzer.roots import named_by
from offwake.analyzer.scope import Scope
from offwake.analyzer.traced import TID, traced_kinds
from offwake.analyzer.views import Key, ViewOptions, named

__all__ = ["EventStacks"]

IDLE = "swapper"
"""What every CPU's idle task is called, whose thread id is 0."""


class EventStacks:
    """Collects traced events. The root is who caused one, then comes its stack, and at the leaf the tracepoint."""

    def __init__(self, scope: Scope, options: ViewOptions) -> None:
        self._scope, self._options = scope, options
        self._kinds = traced_kinds(scope.replay)
        self._weights = Weights(4)

    def feed(self, batch: Batch) -> None:
        """Take a batch's events."""
        scope, replay = self._scope, self._scope.replay
        for number, kind in enumerate(self._kinds):
            rows = batch.events.get(kind)
            if rows is None or not len(rows):
                continue
            rows = rows.where(scope.within(rows.time_ns))
            thread = replay.timeline.places(rows.payload[TID], rows.time_ns)
            chosen = are_selected(thread, scope)
            rows, thread = rows.where(chosen), thread[chosen]
            tgids = replay.timeline.threads["tgid"][thread].tolist()
            spaces = [replay.whole.space_at(*at) for at in zip(tgids, rows.time_ns.tolist(), strict=True)]
            name = np.where(thread >= 0, replay.timeline.threads["name"][thread], -1).astype(np.int32)
            name[rows.payload[TID] == 0] = replay.names.id(IDLE)
            root = named_by(self._options.by, thread, name, replay)
            kinds = np.full(len(rows), number, np.int32)
            self._weights.add([root, kinds, rows.stack, np.array(spaces, np.int32)], np.ones(len(rows), np.int64))

    def profile(self, naming: Naming) -> Profile:
        """Return the stacks."""
        found = named(self._weights, self._frames, naming)
        found.unit = "events"
        return found

    def _frames(self, key: Key, naming: Naming) -> Frames:
        name, kind, stack, space = key
        return naming.name(name), *naming.root_first(stack, space), f"[{self._kinds[kind]}]"
