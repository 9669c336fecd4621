/*
 * What programs at functions of user programs share. They run in the thread's own time and may be preempted, also by another
 * thread that runs the same program: so what is counted is added atomically.
 */

struct registers { u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss; };

/* The same for a call and its return: whose it is, and where on its stack it returns from. */
struct call { u64 thread, stack; };

static __always_inline struct call call_of(struct registers *ctx, int has_returned)
{
    struct call call = {bpf_get_current_pid_tgid(), ctx->sp - 8 * has_returned};

    return call;
}

static __always_inline int emit_from_probe(void *ctx, void *event, u32 size, int kind)
{
    set_number(event, size, kind);
    return counted_atomically(kind, without_stack.perf_submit(ctx, event, size));
}
