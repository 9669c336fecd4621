"""The least that sending events one by one through a perf buffer is: 32 bytes of every switch and waking, and forgotten.

    python -m benchmarks.perf_buffer [--empty] [--flips FLIPS]

What it costs, a recorder that sends each of them alone costs at least: they have more to say, and stacks. With --empty the
programs do not even send: what any program at these tracepoints costs. With --flips they are on for a second and off for
one, in turns, and the file gets a line a turn, as `benchmarks.flipping` writes them.
"""

import argparse
import time
from pathlib import Path

from offwake.recorder.host.snapshot import online_cpus
from offwake.recorder.kernel.bpf_module import RAW_TRACEPOINT, U32, Module
from offwake.recorder.kernel.compiler import compiled
from offwake.recorder.kernel.perf_event import EventSpec, open_event
from offwake.recorder.kernel.ring import PAGE, Ring

RING_BYTES = 4 << 20
FUNCTIONS = {"sched_switch": "on_switch", "sched_waking": "on_waking"}
SEND = "int {}(void *ctx) {{ u64 event[4] = {{}}; buffer.perf_submit(ctx, event, sizeof(event)); return 0; }}\n"
EMPTY = "int {}(void *ctx) {{ return 0; }}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--empty", action="store_true", help="send nothing")
    parser.add_argument("--flips", type=Path, help="turn the programs on and off, and say when in this file")
    arguments = parser.parse_args()
    text = EMPTY if arguments.empty else SEND
    module = Module(compiled("BPF_PERF_OUTPUT(buffer);\n" + "".join(map(text.format, FUNCTIONS.values()))))
    rings = []
    for cpu in online_cpus():
        event = open_event(EventSpec.without_stack(), cpu, RING_BYTES // 4)
        rings.append(Ring(event, RING_BYTES // PAGE))
        module.maps["buffer"].set(cpu, U32.pack(event.fd))
    for function in FUNCTIONS.values():
        module.load(function, RAW_TRACEPOINT)
    is_on = False
    while True:
        if arguments.flips or not is_on:
            is_on = not is_on
            for tracepoint, function in FUNCTIONS.items():
                if is_on:
                    module.attach(tracepoint, function)
                else:
                    module.detach(function)
        if arguments.flips:
            with arguments.flips.open("a") as file:
                file.write(f"{time.time()} {int(is_on)}\n")
        for _ in range(20):
            time.sleep(0.05)
            for ring in rings:
                ring.take()


if __name__ == "__main__":
    main()
