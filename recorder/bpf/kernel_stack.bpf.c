/*
 * The kernel stack's id, in place of a walk through it.
 *
 * The kernel unwinds itself by tables, at 0.2 us a frame: most of what an event with a stack costs. But a function's frame is as
 * large at a return address as it was the last time. So from each return address on the stack, `frames` says where the next
 * one is, as kernel_frames.py has learned it from stacks that the kernel walked; and the id is the hash of all of them. Where
 * it does not know the kernel walks.
 *
 * On the stack of interrupts the way ends where that does, or at the interrupt's entry: what was interrupted has done nothing of this.
 */

#define FRAMES_AT_MOST 48
#define LESSON_WORDS 512
#define AHEAD_WORDS 512 /* that are read of a stack in one go; a power of two */
#define LESSONS_IN_KNOWN 0x3fff /* one walk in so many is a lesson too: what is known is held against it */
#define TO_TOP 1                /* in place of a step: the next return address is the topmost word of the stack, … */
#define LAST 2                  /* … there is none … */
#define NEVER 3                 /* … or it is not always at the same distance; … */
#define INTERRUPT 4             /* … or the rest is what was interrupted */
#define ON_STACK_OF_INTERRUPTS 0x8000 /* beside the kind of event; there its frames begin with rules of their own */

BPF_ARRAY(frames, struct frames, BUCKETS); /* of return addresses; before the first one is the kind of event */
BPF_ARRAY(unsure, u64, 1);                 /* not 0: a module was unloaded, and what is in `frames` may no longer be true */
BPF_PERF_OUTPUT(lessons);

/* Find the top of the stack of interrupts: behind its last page there is none. */
static __always_inline u64 top_of_interrupts(u64 place)
{
    u64 top = (place + PAGE - 1) & -PAGE, word;

    for (int i = 1; i < KERNEL_STACK_BYTES / PAGE; i++)
        if (!bpf_probe_read_kernel(&word, sizeof(word), (void *)top))
            top += PAGE;
    return top;
}

/* Show user space a stack and, as the record's call chain, what the kernel makes of it. */
static __always_inline void teach(void *ctx, struct stacks *stack, u64 begin)
{
    u64 size;

    if (begin & ON_STACK_OF_INTERRUPTS)
        stack->top = top_of_interrupts(stack->place);
    size = stack->top - stack->place;
    if (size > 8 * LESSON_WORDS)
        size = 8 * LESSON_WORDS;
    stack->word[0] = begin | (stack->top - stack->place) << 32;
    if (!bpf_probe_read_kernel(stack->word + 1, size, (void *)stack->place))
        lessons.perf_submit(ctx, stack->word, size + 8);
}

/*
 * Read what lies on a stack in one go, for less than its words would cost one by one: all that is wanted as a rule. Of a stack
 * of interrupts only the rest of the page: behind it may be nothing.
 */
static __always_inline void read_ahead(struct stacks *stack)
{
    u64 top = *(volatile u64 *)&stack->top; /* a number, as place_in() says */
    u64 size = top - stack->place, of_page = PAGE - (stack->place & (PAGE - 1));

    if (size >= 8 * AHEAD_WORDS)
        size = of_page;
    size &= 8 * AHEAD_WORDS - 8;
    stack->ahead = bpf_probe_read_kernel(stack->word, size, (void *)stack->place) ? 0 : size;
}

/* Read a word of the stack, from what was read ahead if it is there. */
static __always_inline u64 word_at(struct stacks *stack, u64 at)
{
    u64 above = at - stack->place;

    return above < stack->ahead && !(above & 7) ? stack->word[above >> 3 & (AHEAD_WORDS - 1)] : read_u64(at);
}

/* Find the kernel stack's id, 0 where it has to be walked. */
static __always_inline void find_kernel_stack_id(void *ctx, struct stacks *stack)
{
    u64 at = place_in(&stack->place, ctx), on_own = at - OF_CURRENT(TASK_STACK) < KERNEL_STACK_BYTES;
    u64 begin = stack->kind | (on_own ? 0 : ON_STACK_OF_INTERRUPTS), address = begin, id = HASH_FACTOR;
    u32 zero = 0;
    u64 *is_unsure = unsure.lookup(&zero);

    stack->kernel_id = stack->is_interrupt = 0;
    if (!is_unsure || *is_unsure)
        return;
    if (begin & ON_STACK_OF_INTERRUPTS)
        stack->top = at + KERNEL_STACK_BYTES;
    else
        *(void *volatile *)&stack->top = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
    read_ahead(stack);
    TURNS (i, stack, FRAMES_AT_MOST) {
        u32 bucket = bucket_of(address), way;
        struct frames *found = frames.lookup(&bucket);
        u64 step;

        if (!found)
            return;
        way = way_of(found, address) & (WAYS - 1);
        if (found->key[way] != address)
            break;
        step = found->rule[way];
        if (step == NEVER)
            return;
        if (step == LAST || step == INTERRUPT) {
            stack->kernel_id = id | 1;
            stack->is_interrupt = step == INTERRUPT;
            if (!(++stack->walks & LESSONS_IN_KNOWN))
                teach(ctx, stack, begin);
            return;
        }
        at = step == TO_TOP ? stack->top - 8 : at + step;
        if (at - stack->place >= stack->top - stack->place)
            break;
        address = word_at(stack, at);
        id = mixed(id, address);
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
