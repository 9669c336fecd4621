/*
 * The scheduler's events: the one source whose rules (which stack, and when) a declaration cannot say.
 *
 * At sched_switch the current task is still prev, so its stack can be had. It is worth having only when prev blocks: a
 * preempted thread, the idle task and a thread that ends wait for nothing. At sched_waking the current task is the waker, or
 * was interrupted by what wakes: the analyzer tells them apart by the stack, so out of an interrupt there always is one.
 * (sched_wakeup would not do: it may fire on the target's CPU.) At sched_wakeup_new it is the parent.
 */

#define TASK_ENDS 0xb0 /* EXIT_DEAD | EXIT_ZOMBIE | TASK_DEAD, include/linux/sched.h */

int on_sched_switch(struct bpf_raw_tracepoint_args *ctx)
{
    struct sched_switch e = {.kind = KIND_sched_switch};
    u64 current = bpf_get_current_pid_tgid();
    int blocks;

    e.flags = ctx->args[0] ? 1 : 0; /* preempted */
    e.prev = (u32)current;
    e.prev_tgid = current >> 32;
    e.next = read_u32(ctx->args[SWITCH_NEXT] + TASK_PID);
#ifdef SWITCH_STATE
    e.state = ctx->args[SWITCH_STATE];
    if (e.state && !e.flags && !read_u32(ctx->args[SWITCH_PREV] + TASK_STATE))
        e.state = 0; /* a signal came, and it does not block after all: only kernels since 2025 say so (8feb053d5319) */
#else
    e.state = read_u32(ctx->args[SWITCH_PREV] + TASK_STATE);
#endif
    blocks = e.prev && e.state && !e.flags && !(e.state & TASK_ENDS);
#ifdef WAITED
    if (e.state & TASK_ENDS)
        blocked_since.delete(&e.prev);
    else
        set_blocked_since(e.prev, blocks ? bpf_ktime_get_ns() : 0);
    set_blocked_since(e.next, 0);
#endif
#ifdef NARROWED
    u8 rank = rank_of(e.prev);

    if (e.state & TASK_ENDS)
        ranks.delete(&e.prev);
    if (is_member(rank))
        e.flags |= MEMBER_FLAG;
    blocks = blocks && rank != STRANGER;
#ifdef NO_WAKERS /* strangers are left out: what ran before and after a member is nobody */
    if (!is_member(rank_of(e.next)))
        e.next = 0;
    if (!is_member(rank)) {
        if (!e.next)
            return 0;
        e.prev = e.prev_tgid = e.state = e.flags = 0;
    }
#endif
#endif
    if (blocks && !is_own(e.prev_tgid))
        return emit_with_stack(ctx, &e, sizeof(e), KIND_sched_switch);
    return emit_soon(ctx, &e, sizeof(e), KIND_sched_switch);
}

int on_sched_waking(struct bpf_raw_tracepoint_args *ctx)
{
    struct sched_waking e = {.kind = KIND_sched_waking};
    u64 current = bpf_get_current_pid_tgid();
    int is_wanted = 1;

    e.waker = (u32)current;
    e.waker_tgid = current >> 32;
    e.target = read_u32(ctx->args[0] + TASK_PID);
    e.target_tgid = read_u32(ctx->args[0] + TASK_TGID);
#ifdef WAITED
    u64 waited = waited_ns(e.target);

#ifdef TRIGGER_NS
    pull_trigger(ctx->args[0], e.target_tgid, waited);
#endif
    is_wanted = waited >= MIN_BLOCK_NS;
#endif
#ifdef NARROWED
    u8 rank = rank_of(e.target);

#ifdef NO_WAKERS
    if (!is_member(rank))
        return 0;
#endif
    is_wanted = is_wanted && is_worth_a_waker(rank);
#endif
#ifdef NO_WAKERS
    return emit_soon(ctx, &e, sizeof(e), KIND_sched_waking);
#endif
    if (is_own(e.target_tgid))
        return emit_soon(ctx, &e, sizeof(e), KIND_sched_waking);
#if defined(NARROWED) || defined(WAITED)
    if (!is_wanted) {
        if (is_on_own_stack(ctx))
            return emit_soon(ctx, &e, sizeof(e), KIND_sched_waking);
        return emit_with_kernel_stack(ctx, &e, sizeof(e), KIND_sched_waking);
    }
#endif
#ifdef NARROWED
    if (is_by_current(ctx, KIND_sched_waking))
        note_waker(e.waker, rank);
#endif
    return emit_with_stack(ctx, &e, sizeof(e), KIND_sched_waking);
}

#ifdef REDACTED
/* The kernel's threads are called after the servers that they talk to: 10.1.2.3-manager. Hide such a name, as redaction.py does. */
static __always_inline void hide_address(u8 *comm, u32 size)
{
    u64 dots = 0, colons = 0, after_digit = 0;

    for (u32 i = 0; i < size; i++) { /* without a branch: the verifier would follow all ways through all of them */
        u64 octet = *(volatile u8 *)&comm[i];

        dots += after_digit & ((octet ^ '.') - 1) >> 63;
        colons += ((octet ^ ':') - 1) >> 63;
        after_digit = (octet - '0' - 10) >> 63 & ~((octet - '0') >> 63);
    }
    if (dots >= 2 || colons >= 2) {
        __builtin_memset(comm, 0, size);
        __builtin_memcpy(comm, "(redacted)", 10);
    }
}
#endif

int on_sched_wakeup_new(struct bpf_raw_tracepoint_args *ctx)
{
    struct sched_wakeup_new e = {.kind = KIND_sched_wakeup_new};

    e.waker = (u32)bpf_get_current_pid_tgid();
    e.target = read_u32(ctx->args[0] + TASK_PID);
    e.target_tgid = read_u32(ctx->args[0] + TASK_TGID);
    bpf_probe_read_kernel(&e.comm, sizeof(e.comm), (void *)(ctx->args[0] + TASK_COMM));
#ifdef REDACTED
    hide_address(e.comm, sizeof(e.comm));
#endif
#ifdef NARROWED
    if (rank_of(e.target) == STRANGER) {
#ifdef NO_WAKERS
        return 0;
#endif
        return emit_soon(ctx, &e, sizeof(e), KIND_sched_wakeup_new);
    }
#endif
#ifdef NO_WAKERS
    return emit_soon(ctx, &e, sizeof(e), KIND_sched_wakeup_new);
#endif
    if (is_own(e.target_tgid))
        return emit_soon(ctx, &e, sizeof(e), KIND_sched_wakeup_new);
    return emit_with_stack(ctx, &e, sizeof(e), KIND_sched_wakeup_new);
}
