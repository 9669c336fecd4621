"""`python -m offwake`: the same as the `offwake` command."""

import sys

from offwake.cli import main

if __name__ == "__main__":
    sys.exit(main())
