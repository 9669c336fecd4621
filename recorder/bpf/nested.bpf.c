/*
 * An event that may come in an interrupt while its own program runs on that CPU, which the kernel does not start a second time:
 * another program takes it then. It tells by what the first one leaves for it: in one place on a thread's own stack, and in
 * another on that of interrupts on top of it, where one such event does not interrupt the other.
 */

BPF_PERCPU_ARRAY(place_NAME, u64, 2); /* each has its own: the second one may interrupt the first */
BPF_PERCPU_ARRAY(begun_NAME, u8, 2);
BPF_PERCPU_ARRAY(nested_NAME, u64, 1); /* how often the second one took it */

int on_NAME(struct bpf_raw_tracepoint_args *ctx)
{
    u32 first = 0, level = is_on_threads_stack(place_in(place_NAME.lookup(&first), ctx));
    volatile u8 *begun = begun_NAME.lookup(&level);

    if (begun)
        *begun = 1;
    return take_NAME(ctx);
}

int on_NAME_nested(struct bpf_raw_tracepoint_args *ctx)
{
    u32 zero = 0, second = 1, level = is_on_threads_stack(place_in(place_NAME.lookup(&second), ctx));
    volatile u8 *begun = begun_NAME.lookup(&level);
    u64 *nested = nested_NAME.lookup(&zero);

    if (!begun || !nested)
        return 0;
    if (*begun) {
        *begun = 0;
        return 0;
    }
    (*nested)++;
    return take_NAME(ctx);
}
