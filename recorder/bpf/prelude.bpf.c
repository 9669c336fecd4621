/* What every program shares: the outputs into a CPU's ring, and the counters that make loss exact. */

#define __always_inline inline __attribute__((always_inline))

BPF_PERF_OUTPUT(with_stack);    /* the kernel adds the call chain to these records … */
BPF_PERF_OUTPUT(without_stack); /* … and not to these, in the same ring … */
BPF_PERF_OUTPUT(kernel_stack);  /* … and to these the kernel's part of it: the user's goes with the event */

struct tally { u64 attempted, stored, failed; };
BPF_PERCPU_ARRAY(tallies, struct tally, KINDS);

static __always_inline u32 read_u32(u64 address)
{
    u32 value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
    return value;
}

static __always_inline u64 read_u64(u64 address)
{
    u64 value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
    return value;
}

/* Each kind is counted by one program only, which the kernel does not let run inside itself: no count is torn. */
static __always_inline int counted(int kind, int error)
{
    struct tally *tally = tallies.lookup(&kind);

    if (tally) {
        tally->attempted++;
        if (error)
            tally->failed++;
        else
            tally->stored++;
    }
    return 0;
}

static __always_inline int emit_without_stack(void *ctx, void *event, u32 size, int kind)
{
    return counted(kind, without_stack.perf_submit(ctx, event, size));
}

#ifndef STACK_BITS
static __always_inline int emit_with_stack(void *ctx, void *event, u32 size, int kind)
{
    return counted(kind, with_stack.perf_submit(ctx, event, size));
}
#endif
