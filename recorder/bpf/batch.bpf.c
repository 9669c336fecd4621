/*
 * Events on their way together: one record in the ring for many of them.
 *
 * What it costs to send something hardly depends on its size, and was a third of what an event cost. So what needs nothing
 * more of the kernel, no call chain, waits in a batch of its CPU, with its time, until that is full or the recorder has it
 * sent (batches.py). Before an event goes alone because of its stacks the batch goes: their order stays.
 *
 * A batch that finds no room in the ring stays, and the event that then finds none in the batch is the one that is lost.
 *
 * Its users run with interrupts off, but for three: a thread that wakes itself, what arrives from the network, and the recorder
 * when it has the batch of its own CPU sent. What comes in an interrupt while a batch is at work goes alone.
 */

#define barrier() asm volatile("" ::: "memory")
#define BATCH_BYTES 4096
#define BATCH_HEAD 12 /* bytes that are sent before the entries */
#define ENTRY_AT_MOST 128
#define EVENT_ROOM 64                      /* for one that has stacks … */
#define WITH_IDS_AT_MOST (EVENT_ROOM + 24) /* … and for their ids, which follow it */

struct entry { u32 after_ns, size; u8 event[ENTRY_AT_MOST + 8]; }; /* how long after the one before; the event's bytes, padded */
struct batch {
    u64 last_ns;
    u32 used, is_at_work;
    u32 unused, kind_and_flags; /* from here on it is sent: 0, which is no kind of event, … */
    u64 begin_ns;               /* … the time of the first event, … */
    u8 entries[BATCH_BYTES + sizeof(struct entry)]; /* … and of each what would be sent alone; the verifier adds them up */
};
BPF_PERCPU_ARRAY(batches, struct batch, 1);

static __always_inline int send_batch(void *ctx, struct batch *batch)
{
    u64 used = batch->used & (BATCH_BYTES - 1);
    int error = 0;

    if (used)
        error = without_stack.perf_submit(ctx, &batch->kind_and_flags, BATCH_HEAD + used);
    if (!error)
        batch->used = 0;
    return error;
}

/* Whether nobody is at work on the batch; then we are. */
static __always_inline int begin_work(struct batch *batch)
{
    volatile u32 *is_at_work = &batch->is_at_work;

    if (*is_at_work)
        return 0;
    *is_at_work = 1;
    barrier();
    return 1;
}

static __always_inline int end_work(struct batch *batch, int error)
{
    barrier();
    *(volatile u32 *)&batch->is_at_work = 0;
    return error;
}

/* Send what waits before what goes alone; where there is no room for it there is none for that either. */
static __always_inline int send_what_waits(void *ctx)
{
    u32 zero = 0;
    struct batch *batch = batches.lookup(&zero);

    return batch && begin_work(batch) ? end_work(batch, send_batch(ctx, batch)) : 0;
}

/* Copy an event, and pad it: without a call, which for one of any size, with ids, takes as many words as there may be. */
static __always_inline void copy_event(u8 *to, void *event, u64 size)
{
    if (__builtin_constant_p(size)) {
        __builtin_memset(to + (size & -8), 0, 8);
        __builtin_memcpy(to, event, size);
        return;
    }
    for (u32 i = 0; i < WITH_IDS_AT_MOST / 8; i++)
        ((u64 *)to)[i] = ((u64 *)event)[i];
    *(u64 *)(to + (size & (ENTRY_AT_MOST - 1))) = 0;
}

/* Put an event to those that wait; where there is no room for it, they are sent. */
static __always_inline int add_to_batch(void *ctx, struct batch *batch, void *event, u64 size)
{
    u64 used, now = bpf_ktime_get_ns(), room = (size + 7) & -8;
    struct entry *entry;

    if (!batch->used || batch->used >= BATCH_BYTES - sizeof(*entry) || now - batch->last_ns >> 32) {
        int error = send_batch(ctx, batch);

        if (error)
            return error;
        batch->begin_ns = batch->last_ns = now;
    }
    used = *(volatile u32 *)&batch->used & (BATCH_BYTES - 1); /* read again: the verifier has to see the mask */
    entry = (void *)batch->entries + used;
    entry->after_ns = now - batch->last_ns;
    entry->size = room;
    copy_event(entry->event, event, size);
    batch->last_ns = now;
    batch->used = used + __builtin_offsetof(struct entry, event) + room;
    return 0;
}

/* Send an event, or let it wait for others. */
static __always_inline int send_soon(void *ctx, void *event, u64 size)
{
    u32 zero = 0;
    struct batch *batch = batches.lookup(&zero);

    if (!batch || !begin_work(batch))
        return without_stack.perf_submit(ctx, event, size);
    return end_work(batch, add_to_batch(ctx, batch, event, size));
}

int on_send_batch(struct bpf_raw_tracepoint_args *ctx)
{
    send_what_waits(ctx);
    return 0;
}

/* For programs that hardly ever interrupt each other, as those that use the scratch. */
static __always_inline int emit_soon(void *ctx, void *event, u32 size, int kind)
{
    set_number(event, size, kind);
    return counted(kind, send_soon(ctx, event, size));
}

/* For programs that run inside each other. */
static __always_inline int emit_nested(void *ctx, void *event, u32 size, int kind)
{
    set_number(event, size, kind);
    return counted_atomically(kind, send_soon(ctx, event, size));
}
