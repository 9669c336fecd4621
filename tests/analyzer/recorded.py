"""From a trace to what the analyzer says of it: the way that a user's file would go."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from offwake.analyzer.profile import Profile
from offwake.analyzer.recording import Recording
from offwake.analyzer.select import Selection
from tests.events import Stack, Trace
from tests.traces import Cut, write_trace

__all__ = ["ALL", "recorded", "weights_of"]

ALL = Selection(show_all=True)


def recorded(trace: Trace, cuts: Sequence[Cut] = ()) -> Recording:
    """Write the trace, and open it as anyone would."""
    with TemporaryDirectory() as folder:
        return Recording.open(write_trace(Path(folder) / "trace.offwake", trace, cuts))


def weights_of(profile: Profile) -> Counter[Stack]:
    """Return nanoseconds by stack, without stacks of no length."""
    return +Counter({frames: weight.value_ns for frames, weight in profile})
