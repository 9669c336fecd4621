/*
 * A sample of what runs, with its whole user stack. Where that is none of ours to unwind the kernel's own sample is kept,
 * with the call chain that it walked: that is what returning 1 means, and it concerns this event of the recorder's alone.
 */

int on_cpu_sample_whole(struct bpf_perf_event_data *ctx)
{
    struct cpu_sample_whole e = {.kind = KIND_cpu_sample_whole};
    u64 current = bpf_get_current_pid_tgid();
    u32 zero = 0;
    struct stacks *stack = scratch.lookup(&zero);

    e.tid = (u32)current;
    e.tgid = current >> 32;
    if (stack && e.tgid != RECORDER && begins_user_stack(stack) == OURS) {
        note_event(stack, &e, sizeof(e), KIND_cpu_sample_whole, KERNEL_STACK_FLAG | USER_STACK_FLAG);
        stack->kernel_id = stack->place = 0;
        from_sample.call(ctx, 0);
    }
    return 1;
}
