/*
 * The kernel stack's id, in place of a walk through it.
 *
 * The kernel unwinds itself by tables, at 0.2 us a frame: most of what an event with a stack costs. But a function's frame is as
 * large at a return address as it was the last time. So from each return address on the stack, `frames` says where the next
 * one is, as kernel_frames.py has learned it from stacks that the kernel walked; and the id is the hash of all of them. Where
 * it does not know the kernel walks.
 *
 * A CPU has a stack for interrupts. Its topmost word says where the stack was left that is under it, and the walk goes on there
 * as if the one lay right above the other: a packet that is received on the way back from sending it has been sent from
 * there. At an interrupt's entry it ends: what was interrupted has done nothing of this.
 *
 * To look for every return address is to miss the CPU's caches as often. But as a rule a thread waits, and wakes, where it did
 * the last time: so the places are kept where its way found the return addresses. With the same words there it would be gone
 * again.
 */

#define FRAMES_AT_MOST 48
#define AHEAD_WORDS 512 /* that are read of a stack in one go; a power of two */
#define LESSONS_IN_KNOWN 0x3fff /* one walk in so many is a lesson too: what is known is held against it */
#define TO_TOP 1                /* in place of a step: the next return address is the topmost word of the stack, … */
#define LAST 2                  /* … there is none … */
#define NEVER 3                 /* … or it is not always at the same distance; … */
#define INTERRUPT 4             /* … or the rest is what was interrupted */
#define KERNEL_WAYS_BITS 10
#define TOPMOST 0xffff          /* in place of a place, which counts words from where a walk begins: the last one */
#define ON_STACK_OF_INTERRUPTS 0x8000 /* beside the kind of event; there its frames begin with rules of their own */

BPF_ARRAY(frames, struct frames, BUCKETS); /* of return addresses; before the first one is the kind of event */
BPF_ARRAY(learned, u64, 1);                /* how often `frames` has changed */
BPF_ARRAY(unsure, u64, 1);                 /* not 0: a module was unloaded, and what is in `frames` may no longer be true */
BPF_PERF_OUTPUT(lessons);
BPF_ARRAY(kernel_ways, struct kernel_way, 1 << KERNEL_WAYS_BITS); /* if two CPUs write one at a time, it fits no id */

/* Find the top of the stack of interrupts, behind whose last page there is nothing; a CPU's stays where it is. */
static __always_inline u64 top_of_interrupts(struct stacks *stack)
{
    u64 top = (stack->place + PAGE - 1) & -PAGE, word;

    if (stack->interrupts_top - stack->place < KERNEL_STACK_BYTES)
        return stack->interrupts_top;
    for (int i = 1; i < KERNEL_STACK_BYTES / PAGE; i++)
        if (!bpf_probe_read_kernel(&word, sizeof(word), (void *)top))
            top += PAGE;
    return stack->interrupts_top = top;
}

/* Find how far it is from `place` up to where the thread's stack ends, and what of that is the stack of interrupts. */
static __always_inline void measure(struct stacks *stack)
{
    u64 thread = OF_CURRENT(TASK_STACK), end;

    *(void *volatile *)&stack->top = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
    end = *(volatile u64 *)&stack->top - thread; /* a number, as place_in() says */
    stack->of_interrupts = 0;
    stack->left_at = stack->place;
    if (stack->place - thread >= KERNEL_STACK_BYTES) {
        stack->of_interrupts = top_of_interrupts(stack) - stack->place;
        stack->left_at = read_u64(stack->place + stack->of_interrupts - 8);
    }
    stack->depth = stack->of_interrupts;
    if (stack->left_at - thread < end)
        stack->depth += thread + end - stack->left_at;
}

/* Copy what lies on both stacks, as far as there is room. */
static __always_inline void copy_stacks(struct stacks *stack)
{
    u64 first = stack->of_interrupts, rest = stack->depth - first;

    first = (first < 8 * AHEAD_WORDS ? first : 8 * AHEAD_WORDS - 8) & (8 * AHEAD_WORDS - 8);
    rest = (rest < 8 * AHEAD_WORDS ? rest : 8 * AHEAD_WORDS - 8) & (8 * AHEAD_WORDS - 8);
    stack->ahead = 0;
    if (first && bpf_probe_read_kernel(stack->word + 1, first, (void *)stack->place))
        return;
    stack->ahead = first;
    if (first < stack->of_interrupts || bpf_probe_read_kernel((void *)(stack->word + 1) + first, rest, (void *)stack->left_at))
        return;
    stack->ahead = first + rest;
}

/* Where every word that is read takes a call, read all that are wanted as a rule by two. */
static __always_inline void read_ahead(struct stacks *stack)
{
    stack->ahead = 0;
#ifndef RDONLY_CAST
    copy_stacks(stack);
#endif
}

/* Read the word that lies so many bytes above `place`, from what was read ahead if it is there. */
static __always_inline u64 word_at(struct stacks *stack, u64 above)
{
    if (above < stack->ahead && !(above & 7))
        return stack->word[1 + (above >> 3 & (2 * AHEAD_WORDS - 1))];
    return read_u64(above + (above < stack->of_interrupts ? stack->place : stack->left_at - stack->of_interrupts));
}

/* Show user space what lies there and, as the record's call chain, what the kernel makes of it. */
static __always_inline void teach(void *ctx, struct stacks *stack, u64 begin)
{
    copy_stacks(stack);
    stack->word[0] = begin | stack->of_interrupts / 8 << 16 | stack->depth << 32;
    if (stack->ahead)
        lessons.perf_submit(ctx, stack->word, 8 + (stack->ahead & (16 * AHEAD_WORDS - 8)));
}

/* Note where a return address was found. */
static __always_inline void note_kernel_place(struct stacks *stack, u64 place)
{
    stack->kernel_way.place[stack->kernel_way.count++ & (KERNEL_PLACES - 1)] = place;
    if (place != TOPMOST)
        stack->kernel_way.last = place;
}

/* Go on to the next return address; where there is none, or none that is known, `step` says why, if not 0. */
static __always_inline int goes_on(struct stacks *stack)
{
    u32 bucket = bucket_of(stack->address), way;
    struct frames *found = frames.lookup(&bucket);

    stack->step = 0;
    if (!found)
        return 0;
    way = way_of(found, stack->address) & (WAYS - 1);
    if (found->key[way] != stack->address)
        return 0;
    stack->step = found->rule[way];
    if (stack->step == LAST || stack->step == NEVER || stack->step == INTERRUPT)
        return 0;
    stack->above = stack->step == TO_TOP ? stack->depth - 8 : stack->above + stack->step;
    if (stack->above >= stack->depth)
        return 0;
    note_kernel_place(stack, stack->step == TO_TOP ? TOPMOST : stack->above / 8);
    stack->address = word_at(stack, stack->above);
    stack->kernel_id = mixed(stack->kernel_id, stack->address);
    return 1;
}

/* Tell whether a thread's way goes as it did the last time: then the id is the same. */
static __always_inline int goes_as_before(struct stacks *stack)
{
    u64 key = stack->kernel_way.key, words = stack->depth / 8, id = HASH_FACTOR;
    u32 slot = key & ((1 << KERNEL_WAYS_BITS) - 1);
    struct kernel_way *way = kernel_ways.lookup(&slot);

    if (!way || way->key != key || way->last >= words)
        return 0;
    TURNS (i, stack, KERNEL_PLACES) {
        u64 place = way->place[i];

        if (i >= way->count)
            break;
        if (place == TOPMOST)
            place = words - 1;
        id = mixed(id, word_at(stack, 8 * place));
    }
    if (id != way->id)
        return 0;
    stack->kernel_id = id;
    stack->is_interrupt = way->is_interrupt;
    return 1;
}

/* Go the way from its beginning to its end, and keep it; returns whether all of it is known. */
static __always_inline int goes_to_its_end(struct stacks *stack, u64 begin)
{
    u32 slot = stack->kernel_way.key & ((1 << KERNEL_WAYS_BITS) - 1);
    struct kernel_way *way = kernel_ways.lookup(&slot);

    stack->address = begin;
    stack->kernel_id = HASH_FACTOR;
    stack->above = stack->kernel_way.count = stack->kernel_way.last = 0;
    TURNS (i, stack, FRAMES_AT_MOST)
        if (!goes_on(stack))
            break;
    if (stack->step != LAST && stack->step != INTERRUPT)
        return 0;
    stack->kernel_way.id = stack->kernel_id;
    stack->kernel_way.is_interrupt = stack->is_interrupt = stack->step == INTERRUPT;
    if (way)
        *way = stack->kernel_way;
    return 1;
}

/* Find the kernel stack's id, 0 where it has to be walked. */
static __always_inline void find_kernel_stack_id(void *ctx, struct stacks *stack)
{
    u64 begin = stack->kind;
    u32 zero = 0, tid = bpf_get_current_pid_tgid();
    u64 *is_unsure = unsure.lookup(&zero), *version = learned.lookup(&zero);

    stack->kernel_id = stack->is_interrupt = 0;
    if (!is_unsure || *is_unsure || !version)
        return;
    place_in(&stack->place, ctx);
    measure(stack);
    read_ahead(stack);
    if (stack->of_interrupts)
        begin |= ON_STACK_OF_INTERRUPTS;
    stack->kernel_way.key = mixed(mixed(*version, begin), tid);
    if (goes_as_before(stack) || goes_to_its_end(stack, begin)) {
        if (++stack->walks & LESSONS_IN_KNOWN)
            return;
    } else {
        stack->kernel_id = 0;
        if (stack->step == NEVER)
            return;
    }
    teach(ctx, stack, begin);
}

int on_module_free(struct bpf_raw_tracepoint_args *ctx)
{
    u32 zero = 0;
    u64 *is_unsure = unsure.lookup(&zero);

    if (is_unsure)
        *is_unsure = 1;
    return 0;
}
