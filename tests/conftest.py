"""Settings for all tests."""

import os
import signal

from hypothesis import Phase, settings

PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink)  # not "explain": it takes minutes
settings.register_profile("local", deadline=None, print_blob=True, phases=PHASES, max_examples=60)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# A shell that runs the tests in the background has SIGINT ignored, by them and by all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
