/*
 * System calls, added up by process, call and power of two of how long they took: none goes into a ring. A call is counted when
 * it returns; so one that never does (exit), or has not yet, is not.
 */

struct entered { u64 time_ns, call; };
BPF_TABLE("lru_hash", u32, struct entered, entered, 65536); /* by thread */

int on_syscall_enter(struct bpf_raw_tracepoint_args *ctx)
{
    u64 current = bpf_get_current_pid_tgid();
    struct entered now = {bpf_ktime_get_ns(), ctx->args[1]};
    u32 tid = current;

    if (is_own(current >> 32))
        return 0;
#ifdef NARROWED
    if (!is_member(rank_of(tid)))
        return 0;
#endif
    entered.update(&tid, &now);
    return 0;
}

int on_syscall_exit(struct bpf_raw_tracepoint_args *ctx)
{
    u64 current = bpf_get_current_pid_tgid(), took_ns;
    u32 tid = current;
    struct entered *begin = entered.lookup(&tid);
    struct syscalls_key key = {.tgid = current >> 32};
    struct syscalls_value *value;
    s64 result = ctx->args[1];

    if (!begin)
        return 0;
    if (read_u64(ctx->args[0] + OFFSET(pt_regs.orig_ax)) != begin->call) { /* of a thread that had this id before */
        entered.delete(&tid);
        return 0;
    }
    took_ns = bpf_ktime_get_ns() - begin->time_ns;
    key.call = begin->call;
    key.power = power_of_two(took_ns);
    entered.delete(&tid);
    value = syscalls_at(&key);
    if (!value)
        return 0;
    __sync_fetch_and_add(&value->count, 1);
    __sync_fetch_and_add(&value->total_ns, took_ns);
    if (result < 0 && result >= -4095)
        __sync_fetch_and_add(&value->errors, 1);
    if (took_ns > value->max_ns)
        value->max_ns = took_ns;
    return 0;
}
