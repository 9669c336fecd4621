/*
 * How long a thread has waited when it is woken: for recordings that take stacks of long waits alone, or act on one.
 */

#define FOR_EVER (~0ULL) /* since before the recording, or nobody knows */

BPF_F_TABLE("hash", u32, u64, blocked_since, 65536, AS_NEEDED); /* by thread: 0 while it is awake */

static __always_inline void set_blocked_since(u32 tid, u64 time)
{
    u64 *since = blocked_since.lookup(&tid);

    if (since)
        *since = time;
    else if (tid)
        blocked_since.update(&tid, &time);
}

static __always_inline u64 waited_ns(u32 tid)
{
    u64 *since = blocked_since.lookup(&tid);

    return !since ? FOR_EVER : *since ? bpf_ktime_get_ns() - *since : 0;
}

#ifdef TRIGGER_NS
BPF_ARRAY(trigger_hits, u64, 1);
static long (*read_kernel_text)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_kernel_str;

/* Count a wait that ends now if it is one that the trigger is about. */
static __always_inline void pull_trigger(u64 task, u32 tgid, u64 waited)
{
    u64 comm[2] = {}, *hits;
    u32 zero = 0;

    if (waited == FOR_EVER || waited <= TRIGGER_NS || (TRIGGER_PID && tgid != TRIGGER_PID))
        return;
    read_kernel_text(comm, sizeof(comm), (void *)(task + TASK_COMM));
    hits = trigger_hits.lookup(&zero);
    if (hits && (!TRIGGER_COMM_0 || (comm[0] == TRIGGER_COMM_0 && comm[1] == TRIGGER_COMM_1)))
        __sync_fetch_and_add(hits, 1);
}
#endif
