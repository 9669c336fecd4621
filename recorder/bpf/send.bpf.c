/*
 * An event and its stacks on their way: noted, looked through page by page, sent.
 */

#define LOOK_ON 0
#define WALK_PYTHON 1
#define FOLLOW_FRAMES 2
#define DONE 3
BPF_PROG_ARRAY(from_tracepoint, 3);
BPF_PROG_ARRAY(from_sample, 2);

/* Note an event, whose stacks will follow. */
static __always_inline void note_event(struct stacks *stack, void *event, u32 size, int kind, u16 flags)
{
    stack->kind = kind;
    stack->begin = EVENT_ROOM - size;
    __builtin_memcpy(stack->event + EVENT_ROOM - size, event, size);
    *(u16 *)(stack->event + EVENT_ROOM - size + 2) |= flags;
}

/* Send the event and what follows it up to `end`; the kernel stack goes with it if it has not been sent in this segment. */
static __always_inline int submit(void *ctx, struct stacks *stack, u64 end)
{
    u32 zero = 0, slot = stack->kernel_id & 16383;
    u64 begin = stack->begin & (EVENT_ROOM - 1), id = stack->kernel_id, size = end - begin;
    u64 *seen = kernel_told.lookup(&slot), *now = segment.lookup(&zero);
    int error, is_told;

    if (!seen || !now)
        return -1;
#ifdef WALKED
    is_told = 0;
#else
    is_told = id && *seen == id + *now;
#endif
    if (is_told && end <= __builtin_offsetof(struct stacks, ip)) {
        error = send_soon(ctx, stack->event + begin, size);
    } else if (!(error = send_what_waits(ctx))) {
        if (is_told)
            error = without_stack.perf_submit(ctx, stack->event + begin, size);
        else
            error = kernel_stack.perf_submit(ctx, stack->event + begin, size);
        if (!error && id)
            *seen = id + *now;
    }
    counted(stack->kind, error);
    return error;
}

/* Send the event with the id of its user stack, if the stack was sent in this segment; returns whether it was. */
static __always_inline int send_user_stack_id(void *ctx, struct stacks *stack)
{
    u32 zero = 0, slot = stack->id & 65535;
    u64 *seen = told.lookup(&slot), *now = segment.lookup(&zero);

#ifdef WALKED
    return 0;
#endif
    if (!seen || !now || *seen != stack->id + *now)
        return 0;
    stack->words = stack->flags = 0;
    submit(ctx, stack, __builtin_offsetof(struct stacks, ip));
    return 1;
}

/* Send the event with the user stack that was looked through. */
static __always_inline int send_user_stack(void *ctx, struct stacks *stack)
{
    u32 zero = 0, slot;
    u64 *seen, *now = segment.lookup(&zero);

    if (stack->name) {
        stack->id = stack->name;
        stack->flags |= FOLLOWED;
    }
    slot = stack->id & 65535;
    seen = told.lookup(&slot);
    if (send_user_stack_id(ctx, stack) || !seen || !now)
        return 0;
    if (!submit(ctx, stack, __builtin_offsetof(struct stacks, word) + 8 * (stack->words & WORDS_AT_MOST)))
        *seen = stack->id + *now;
    return 0;
}

static __always_inline int emit_with_kernel_stack(void *ctx, void *event, u32 size, int kind)
{
    u32 zero = 0;
    struct stacks *stack = scratch.lookup(&zero);

    if (!stack)
        return 0;
    set_number(event, size, kind);
    note_event(stack, event, size, kind, KERNEL_STACK_FLAG);
    find_kernel_stack_id(ctx, stack);
    submit(ctx, stack, __builtin_offsetof(struct stacks, id));
    return 0;
}

/* Whether an event is of the current thread's own doing, and not of an interrupt's on top of it. */
static __always_inline int is_by_current(void *ctx, int kind)
{
    u32 zero = 0;
    struct stacks *stack = scratch.lookup(&zero);

    if (!stack || is_on_own_stack(ctx))
        return 1;
    stack->kind = kind;
    find_kernel_stack_id(ctx, stack);
    return stack->kernel_id && !stack->is_interrupt;
}

static __always_inline int emit_with_stack(void *ctx, void *event, u32 size, int kind)
{
    u32 zero = 0;
    struct stacks *stack = scratch.lookup(&zero);
    int user;

    if (!stack)
        return 0;
    set_number(event, size, kind);
    note_event(stack, event, size, kind, KERNEL_STACK_FLAG);
    find_kernel_stack_id(ctx, stack);
    user = stack->is_interrupt ? NO_USER_STACK : begins_user_stack(stack);
    if (user == NOT_OURS) {
        int error = send_what_waits(ctx);

        return counted(kind, error ? error : with_stack.perf_submit(ctx, event, size));
    }
    if (user == OURS) {
        *(u16 *)(stack->event + EVENT_ROOM - size + 2) |= USER_STACK_FLAG;
        from_tracepoint.call(ctx, stack->space ? FOLLOW_FRAMES : LOOK_ON);
    }
    submit(ctx, stack, __builtin_offsetof(struct stacks, id));
    return 0;
}

/* A process runs another program: what was told of it is no longer true. */
int on_sched_process_exec(struct bpf_raw_tracepoint_args *ctx)
{
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct code *code = code_of.lookup(&tgid);

    if (code)
        code->flags = 0;
    python_of.delete(&tgid);
#ifdef NARROWED
    follow_exec(ctx);
#endif
    return 0;
}

/*
 * The steps of a user stack. Each says which is the next; one that names itself goes on where it stopped. program_text.py makes
 * programs of them, of the two types that events have: the verifier goes through them one by one.
 */

/* The last step; a stack that has a name and was not sent yet is looked through after all. */
static __always_inline u32 end_user_stack(void *ctx, struct stacks *stack)
{
    if (!stack->is_followed) {
        send_user_stack(ctx, stack);
        return DONE;
    }
    if (send_user_stack_id(ctx, stack))
        return DONE;
    stack->name = stack->id;
    stack->words = stack->is_followed = 0;
    return LOOK_ON;
}

static __always_inline u32 go_on_with_python(void *ctx, struct stacks *stack)
{
    if (stack->is_python && (stack->python_frame = first_python_frame(stack)))
        return WALK_PYTHON;
    return end_user_stack(ctx, stack);
}

static __always_inline u32 step_look_on(void *ctx, struct stacks *stack)
{
    stack->flags &= ~CUT;
    return look_through_page(stack) ? LOOK_ON : go_on_with_python(ctx, stack);
}

static __always_inline u32 step_walk_python(void *ctx, struct stacks *stack)
{
    return walk_python(ctx, stack) ? WALK_PYTHON : end_user_stack(ctx, stack);
}

static __always_inline u32 step_follow_frames(void *ctx, struct stacks *stack)
{
    stack->is_followed = find_user_stack_id(ctx, stack);
    return stack->is_followed ? go_on_with_python(ctx, stack) : LOOK_ON;
}

/* There was no further step, or too many for the kernel: the stack goes as it is. */
static __always_inline int stopped(void *ctx, struct stacks *stack, u32 next)
{
    return next == DONE ? 0 : send_user_stack(ctx, stack);
}
