/* What every program shares: the outputs into a CPU's ring, and the counters that make loss exact. */

#define __always_inline inline __attribute__((always_inline))

BPF_PERF_OUTPUT(with_stack);    /* the kernel adds the call chain to these records … */
BPF_PERF_OUTPUT(without_stack); /* … and not to these, in the same ring … */
BPF_PERF_OUTPUT(kernel_stack);  /* … and to these the kernel's part of it: the user's goes with the event */

BPF_ARRAY(own, u32, 2); /* the recorder's own processes: itself, and one that it may have started */

static __always_inline int is_own(u32 tgid)
{
    u32 zero = 0, one = 1, *recorder = own.lookup(&zero), *helper = own.lookup(&one);

    return (recorder && tgid == *recorder) || (helper && tgid == *helper);
}

#define ENOENT 2
#define EOPNOTSUPP 95

struct tally { u64 attempted, stored, failed, no_ring; }; /* no_ring: those of the failed that the CPU had no ring for */
BPF_PERCPU_ARRAY(tallies, struct tally, KINDS);

/*
 * What a kernel's struct holds, without a call. The verifier knows what is read: of a pointer to anything that it knows, only
 * whether it is one may be asked.
 */
#define LOADED(type, from, offset)                                                                                             \
    ({                                                                                                                         \
        u64 loaded;                                                                                                            \
        asm volatile("%0 = *(" #type " *)(%1 + %2)" : "=r"(loaded) : "r"(from), "i"(offset));                                  \
        loaded;                                                                                                                \
    })

/* What lies at an address of the kernel, 0 where nothing does; without a call too where addresses can be cast, see casts.py. */
#ifdef RDONLY_CAST
static u64 (*rdonly_cast)(u64 address, u32 struct_number) = (void *)RDONLY_CAST; /* no helper has such a number */
#define READ(type, address) LOADED(type, rdonly_cast(address, TIMESPEC64), 0)
#else
#define READ(type, address)                                                                                                    \
    ({                                                                                                                         \
        type there = 0;                                                                                                        \
        bpf_probe_read_kernel(&there, sizeof(there), (void *)(address));                                                       \
        there;                                                                                                                 \
    })
#endif
#define read_u8(address) READ(u8, address)
#define read_u16(address) READ(u16, address)
#define read_u32(address) READ(u32, address)
#define read_u64(address) READ(u64, address)

/* The highest bit that is set, 0 for none. */
static __always_inline u32 power_of_two(u64 value)
{
    u32 power = 0, shift;

    shift = (value > 0xffffffff) << 5; value >>= shift; power |= shift;
    shift = (value > 0xffff) << 4; value >>= shift; power |= shift;
    shift = (value > 0xff) << 3; value >>= shift; power |= shift;
    shift = (value > 0xf) << 2; value >>= shift; power |= shift;
    shift = (value > 0x3) << 1; value >>= shift; power |= shift;
    return power | (value >> 1);
}

/* Each kind is counted by one program only, which the kernel does not let run inside itself: no count is torn. */
static __always_inline int counted(int kind, int error)
{
    struct tally *tally = tallies.lookup(&kind);

    if (tally) {
        tally->attempted++;
        if (error)
            tally->failed++;
        else
            tally->stored++;
        if (error == -ENOENT || error == -EOPNOTSUPP)
            tally->no_ring++;
    }
    return 0;
}

/* Of kinds that are counted by several programs, or by one that may be preempted. */
static __always_inline int counted_atomically(int kind, int error)
{
    struct tally *tally = tallies.lookup(&kind);

    if (tally) {
        __sync_fetch_and_add(&tally->attempted, 1);
        if (error)
            __sync_fetch_and_add(&tally->failed, 1);
        else
            __sync_fetch_and_add(&tally->stored, 1);
        if (error == -ENOENT || error == -EOPNOTSUPP)
            __sync_fetch_and_add(&tally->no_ring, 1);
    }
    return 0;
}

/*
 * In what a program is given: an array that lies in the frame of what called it. As a pointer no program may look at where it
 * points; what has been in a map is a number.
 */
BPF_PERCPU_ARRAY(pointer, u64, 1);
static __always_inline u64 place_in(void *slot, void *ctx)
{
    if (!slot)
        return 0;
    *(void *volatile *)slot = ctx;
    return *(volatile u64 *)slot;
}

static __always_inline u64 place_of(void *ctx)
{
    u32 zero = 0;

    return place_in(pointer.lookup(&zero), ctx);
}

static __always_inline int is_on_threads_stack(u64 place)
{
    return place - read_u64(bpf_get_current_task() + TASK_STACK) < KERNEL_STACK_BYTES;
}

/* Whether a program runs on the current thread's own stack, and not on that of interrupts on top of it. */
static __always_inline int is_on_own_stack(void *ctx)
{
    return is_on_threads_stack(place_of(ctx));
}

#ifdef NUMBERED /* see Build in program_text.py */
static __always_inline void set_number(void *event, u32 size, int kind)
{
    struct tally *tally = tallies.lookup(&kind);

    *(u64 *)(event + size - 8) = tally ? tally->attempted : 0;
}
#else
#define set_number(event, size, kind)
#endif

static __always_inline int emit_without_stack(void *ctx, void *event, u32 size, int kind)
{
    set_number(event, size, kind);
    return counted(kind, without_stack.perf_submit(ctx, event, size));
}

/* For programs that may run with interrupts on, which have no scratch to name a stack in: the kernel walks its own each time. */
static __always_inline int emit_with_kernel_chain(void *ctx, void *event, u32 size, int kind)
{
    set_number(event, size, kind);
    return counted(kind, kernel_stack.perf_submit(ctx, event, size));
}

#ifndef STACK_BITS
static __always_inline int emit_with_stack(void *ctx, void *event, u32 size, int kind)
{
    set_number(event, size, kind);
    return counted(kind, with_stack.perf_submit(ctx, event, size));
}

#define emit_with_kernel_stack emit_with_kernel_chain
#define emit_soon emit_without_stack
#define emit_nested emit_from_probe
#define is_by_current(ctx, kind) is_on_own_stack(ctx)
#endif
