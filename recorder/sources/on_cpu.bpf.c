/*
 * A sample of what runs, with its whole user stack. Where that is none of ours to unwind the kernel's own sample is kept,
 * with the call chain that it walked: that is what returning 1 means, and 0 that there is none. Both concern this event of the
 * recorder's alone.
 */

int on_cpu_sample_whole(struct bpf_perf_event_data *ctx)
{
    struct cpu_sample_whole e = {.kind = KIND_cpu_sample_whole};
    u64 current = bpf_get_current_pid_tgid();

    e.tid = (u32)current;
    e.tgid = current >> 32;
#ifdef NARROWED
    if (!is_member(rank_of(e.tid)))
        return 0;
#endif
#ifdef STACK_BITS
    u32 zero = 0;
    struct stacks *stack = scratch.lookup(&zero);

    if (stack && !is_own(e.tgid) && begins_user_stack(stack) == OURS) {
        set_number(&e, sizeof(e), KIND_cpu_sample_whole);
        note_event(stack, &e, sizeof(e), KIND_cpu_sample_whole, KERNEL_STACK_FLAG | USER_STACK_FLAG);
        stack->kernel_id = 0;
        from_sample.call(ctx, LOOK_ON);
    }
#endif
    return 1;
}
