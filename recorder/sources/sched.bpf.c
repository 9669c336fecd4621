/*
 * The scheduler's events: the one source whose rules (which stack, and when) a declaration cannot say.
 *
 * At sched_switch the current task is still prev, so the kernel can walk its stack. It is worth walking only when prev
 * blocks: a preempted thread, the idle task and a thread that ends wait for nothing. Walking is 85 to 90 % of an event's
 * cost. At sched_waking the current task is the waker, or was interrupted by what wakes: the analyzer tells them apart
 * by the stack. (sched_wakeup would not do: it may fire on the target's CPU.) At sched_wakeup_new it is the parent.
 */

#define TASK_ENDS 0xb0 /* EXIT_DEAD | EXIT_ZOMBIE | TASK_DEAD, include/linux/sched.h */

int on_sched_switch(struct bpf_raw_tracepoint_args *ctx)
{
    struct sched_switch e = {.kind = KIND_sched_switch};
    u64 current = bpf_get_current_pid_tgid();

    e.flags = ctx->args[0] ? 1 : 0; /* preempted */
    e.prev = (u32)current;
    e.prev_tgid = current >> 32;
    e.next = read_u32(ctx->args[SWITCH_NEXT] + TASK_PID);
#ifdef SWITCH_STATE
    e.state = ctx->args[SWITCH_STATE];
#else
    e.state = read_u32(ctx->args[SWITCH_PREV] + TASK_STATE);
#endif
    if (e.prev && e.state && !e.flags && !(e.state & TASK_ENDS) && e.prev_tgid != RECORDER)
        return emit_with_stack(ctx, &e, sizeof(e), KIND_sched_switch);
    return emit_without_stack(ctx, &e, sizeof(e), KIND_sched_switch);
}

int on_sched_waking(struct bpf_raw_tracepoint_args *ctx)
{
    struct sched_waking e = {.kind = KIND_sched_waking};
    u64 current = bpf_get_current_pid_tgid();

    e.waker = (u32)current;
    e.waker_tgid = current >> 32;
    e.target = read_u32(ctx->args[0] + TASK_PID);
    e.target_tgid = read_u32(ctx->args[0] + TASK_TGID);
    if (e.target_tgid == RECORDER)
        return emit_without_stack(ctx, &e, sizeof(e), KIND_sched_waking);
    return emit_with_stack(ctx, &e, sizeof(e), KIND_sched_waking);
}

int on_sched_wakeup_new(struct bpf_raw_tracepoint_args *ctx)
{
    struct sched_wakeup_new e = {.kind = KIND_sched_wakeup_new};

    e.waker = (u32)bpf_get_current_pid_tgid();
    e.target = read_u32(ctx->args[0] + TASK_PID);
    e.target_tgid = read_u32(ctx->args[0] + TASK_TGID);
    bpf_probe_read_kernel(&e.comm, sizeof(e.comm), (void *)(ctx->args[0] + TASK_COMM));
    if (e.target_tgid != RECORDER)
        return emit_with_stack(ctx, &e, sizeof(e), KIND_sched_wakeup_new);
    return emit_without_stack(ctx, &e, sizeof(e), KIND_sched_wakeup_new);
}
