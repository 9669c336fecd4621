"""What the recorder asks of the kernel, and how: BPF, perf events and their rings, tracepoints, capabilities."""
