/*
 * Of whom stacks are wanted, where a recording is narrowed: its members, and those who wake them, up to some hops away.
 *
 * A thread has a rank: 0 as a member, and as one who wakes a thread of another rank one more than that. Members come from
 * user space (members.py), and as children of members; those who wake are found here.
 */

#define STRANGER 255
#define ALONE 254 /* a member whose children are none */
#define HOPS_AT_MOST 4
#define MEMBER_FLAG 2 /* in the flags of a switch: prev is one */

BPF_F_TABLE("hash", u32, u8, ranks, 65536, AS_NEEDED); /* by thread */

static __always_inline u8 rank_of(u32 tid)
{
    u8 *rank = ranks.lookup(&tid);

    return rank ? *rank : STRANGER;
}

static __always_inline int is_member(u8 rank)
{
    return rank == 0 || rank == ALONE;
}

static __always_inline int is_worth_a_waker(u8 rank)
{
    return rank < HOPS_AT_MOST || rank == ALONE;
}

/* Note who woke a thread of this rank. */
static __always_inline void note_waker(u32 waker, u8 rank)
{
    u8 known = rank_of(waker), hops = rank == ALONE ? 1 : rank + 1;

    if (waker && !is_member(known) && known > hops)
        ranks.update(&waker, &hops);
}

/* The process runs another program, maybe at the call of another thread than its first, whose id that one has from then on. */
static __always_inline void follow_exec(struct bpf_raw_tracepoint_args *ctx)
{
    u32 tid = bpf_get_current_pid_tgid(), before = ctx->args[1];
    u8 *rank = ranks.lookup(&before), kept;

    if (tid == before || !rank)
        return;
    kept = *rank;
    ranks.update(&tid, &kept);
    ranks.delete(&before);
}

#ifndef STACK_BITS
int on_sched_process_exec(struct bpf_raw_tracepoint_args *ctx)
{
    follow_exec(ctx);
    return 0;
}
#endif

/* A thread that ends leaves its id to others. Where its last switch is recorded, it does so there. */
int on_sched_process_exit(struct bpf_raw_tracepoint_args *ctx)
{
    u32 tid = bpf_get_current_pid_tgid();

    ranks.delete(&tid);
    return 0;
}

int on_sched_process_fork(struct bpf_raw_tracepoint_args *ctx)
{
    u8 member = 0;
    u32 child = read_u32(ctx->args[1] + TASK_PID);

    if (rank_of(read_u32(ctx->args[0] + TASK_PID)) == 0)
        ranks.update(&child, &member);
    return 0;
}
