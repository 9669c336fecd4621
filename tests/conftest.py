"""Settings for all tests."""

import os

from hypothesis import settings

settings.register_profile("local", deadline=None, print_blob=True, max_examples=300)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
