/* Calls of functions, each known by the cookie of its probe: counted, or timed from their call to their return. */

static u64 (*MAP_cookie)(void *ctx) = (void *)174; /* bpf_get_attach_cookie */

#ifndef CALL_OF_FUNCTION
#define CALL_OF_FUNCTION
struct timed_call { struct call call; u64 function; };
#endif

BPF_TABLE("lru_hash", struct timed_call, u64, MAP_began, 65536);

static __always_inline struct MAP_value *MAP_of(u32 function, u64 took)
{
    struct MAP_key key = {function, bpf_get_current_pid_tgid() >> 32, power_of_two(took)};

    return is_own(key.tgid) ? 0 : MAP_at(&key);
}

int on_MAP_call(struct registers *ctx)
{
    struct MAP_value *value = MAP_of(MAP_cookie(ctx), 0);

    if (value)
        __sync_fetch_and_add(&value->count, 1);
    return 0;
}

int on_MAP_begin(struct registers *ctx)
{
    struct timed_call call = {call_of(ctx, 0), MAP_cookie(ctx)};
    u64 now = bpf_ktime_get_ns();

    MAP_began.update(&call, &now);
    return 0;
}

int on_MAP_return(struct registers *ctx)
{
    struct timed_call call = {call_of(ctx, 1), MAP_cookie(ctx)};
    u64 *began = MAP_began.lookup(&call), took, square;
    struct MAP_value *value;

    if (!began)
        return 0;
    took = bpf_ktime_get_ns() - *began;
    MAP_began.delete(&call);
    value = MAP_of(call.function, took);
    if (!value)
        return 0;
    __sync_fetch_and_add(&value->count, 1);
    __sync_fetch_and_add(&value->total_ns, took);
    if (took >> 32) { /* its square has more than 64 bits */
        __sync_fetch_and_add(&value->squares_high, (took >> 16) * (took >> 16));
    } else {
        square = took * took;
        __sync_fetch_and_add(&value->squares_high, square >> 32);
        __sync_fetch_and_add(&value->squares_low, square & 0xffffffff);
    }
    return 0;
}
