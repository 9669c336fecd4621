"""The least that sending events one by one through a perf buffer is: 32 bytes of every switch and waking, and forgotten.

What it costs, a recorder that sends each of them alone costs at least: they have more to say, and stacks.
"""

import time

from offwake.recorder.host.snapshot import online_cpus
from offwake.recorder.kernel.bpf_module import RAW_TRACEPOINT, U32, Module
from offwake.recorder.kernel.compiler import compiled
from offwake.recorder.kernel.perf_event import EventSpec, open_event
from offwake.recorder.kernel.ring import PAGE, Ring

RING_BYTES = 4 << 20
FUNCTIONS = {"sched_switch": "on_switch", "sched_waking": "on_waking"}
SEND = "int {}(void *ctx) {{ u64 event[4] = {{}}; buffer.perf_submit(ctx, event, sizeof(event)); return 0; }}\n"


def main() -> None:
    module = Module(compiled("BPF_PERF_OUTPUT(buffer);\n" + "".join(map(SEND.format, FUNCTIONS.values()))))
    rings = []
    for cpu in online_cpus():
        event = open_event(EventSpec.without_stack(), cpu, RING_BYTES // 4)
        rings.append(Ring(event, RING_BYTES // PAGE))
        module.maps["buffer"].set(cpu, U32.pack(event.fd))
    for tracepoint, function in FUNCTIONS.items():
        module.load(function, RAW_TRACEPOINT)
        module.attach(tracepoint, function)
    while True:
        time.sleep(0.05)
        for ring in rings:
            ring.take()


if __name__ == "__main__":
    main()
