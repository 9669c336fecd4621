/*
 * The kernel stack's id, in place of a walk through it.
 *
 * The kernel unwinds itself by tables, at 0.2 us a frame: most of what an event with a stack costs. But a function's frame is as
 * large at a return address as it was the last time. So from each return address on the stack, `frames` says where the next
 * one is, as kernel_frames.py has learned it from stacks that the kernel walked; and the id is the hash of all of them. Where
 * it does not know, and on the stack of interrupts, the kernel walks.
 */

#define FRAMES_AT_MOST 48
#define LESSON_WORDS 512
#define LESSONS_IN_KNOWN 0xfff /* one walk in so many is a lesson too: what is known is held against it */
#define TO_TOP 1               /* in place of a step: the next return address is the topmost word of the stack, … */
#define LAST 2                 /* … there is none … */
#define NEVER 3                /* … or it is not always at the same distance; … */
#define INTERRUPT 4            /* … there is none: what was interrupted is the user's code, which has done nothing of this */

BPF_ARRAY(frames, struct frames, BUCKETS); /* of return addresses; before the first one is the kind of event */
BPF_ARRAY(unsure, u64, 1);                 /* not 0: a module was unloaded, and what is in `frames` may no longer be true */
BPF_PERF_OUTPUT(lessons);

/* Show user space a stack and, as the record's call chain, what the kernel makes of it. */
static __always_inline void teach(void *ctx, struct stacks *stack)
{
    u64 size = stack->top - stack->place;

    if (size > 8 * LESSON_WORDS)
        size = 8 * LESSON_WORDS;
    stack->word[0] = stack->kind | (stack->top - stack->place) << 32;
    if (!bpf_probe_read_kernel(stack->word + 1, size, (void *)stack->place))
        lessons.perf_submit(ctx, stack->word, size + 8);
}

/* Find the kernel stack's id, 0 where it has to be walked. */
static __always_inline void find_kernel_stack_id(void *ctx, struct stacks *stack)
{
    u64 address = stack->kind, at, id = HASH_FACTOR;
    u32 zero = 0;
    u64 *is_unsure = unsure.lookup(&zero);

    stack->kernel_id = stack->is_interrupt = 0;
    if (!is_on_own_stack(ctx) || !is_unsure || *is_unsure)
        return;
    stack->place = at = place_of(ctx);
    *(void *volatile *)&stack->top = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
    for (int i = 0; i < FRAMES_AT_MOST; i++) {
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
                teach(ctx, stack);
            return;
        }
        at = step == TO_TOP ? stack->top - 8 : at + step;
        if (at - stack->place >= stack->top - stack->place)
            break;
        address = read_u64(at);
        id = mixed(id, address);
    }
    teach(ctx, stack);
}

int on_module_free(struct bpf_raw_tracepoint_args *ctx)
{
    u32 zero = 0;
    u64 *is_unsure = unsure.lookup(&zero);

    if (is_unsure)
        *is_unsure = 1;
    return 0;
}
