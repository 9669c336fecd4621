#!/bin/sh
# Record examples/demo.offwake: one second of examples/workload.py, small enough to be kept in the repository.
set -eu
cd "$(dirname "$0")/.."

example=examples/demo.offwake
rm -f "$example"
.venv/bin/offwake record -o "$example" -- .venv/bin/python examples/workload.py 1

bytes=$(stat --format=%s "$example")
[ "$bytes" -le 300000 ] || { echo "$example has $bytes bytes: more than the 300,000 that a repository should carry." >&2; exit 1; }
