#!/bin/sh
# Record examples/workload.py for ten seconds, print the summary, and serve the viewer until Ctrl-C (SERVE=0: end here).
# Where this machine cannot record, show the recording that lies beside this script.
set -eu
cd "$(dirname "$0")/.."

mkdir -p build
recording=build/demo.offwake
rm -f "$recording"

.venv/bin/python examples/workload.py 12 &
workload=$!
if ! .venv/bin/offwake record -o "$recording" --duration 10 && ! [ -e "$recording" ]; then
    echo "This machine cannot record (the line above says why); here is examples/demo.offwake instead." >&2
    recording=examples/demo.offwake
fi
wait "$workload"

.venv/bin/offwake summary "$recording"
[ "${SERVE:-1}" = 0 ] || exec .venv/bin/offwake serve "$recording"
