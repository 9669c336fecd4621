/*
 * An event and its stacks on their way: noted, looked through page by page, sent.
 */

BPF_PROG_ARRAY(from_tracepoint, 2);
BPF_PROG_ARRAY(from_sample, 2);

/* Note an event, whose stacks will follow. */
static __always_inline void note_event(struct stacks *stack, void *event, u32 size, int kind, u16 flags)
{
    stack->kind = kind;
    stack->begin = EVENT_ROOM - size;
    bpf_probe_read_kernel(stack->event + EVENT_ROOM - size, size, event);
    *(u16 *)(stack->event + EVENT_ROOM - size + 2) |= flags;
}

/* Send the event and what follows it up to `end`; the kernel stack goes with it if it has not been sent in this segment. */
static __always_inline int submit(void *ctx, struct stacks *stack, u64 end)
{
    u32 zero = 0, slot = stack->kernel_id & 16383;
    u64 begin = stack->begin & (EVENT_ROOM - 1), id = stack->kernel_id;
    u64 *seen = kernel_told.lookup(&slot), *now = segment.lookup(&zero);
    int error;

    if (!seen || !now)
        return -1;
#ifdef WALKED
    if (0) {
#else
    if (id && *seen == id + *now) {
#endif
        error = without_stack.perf_submit(ctx, stack->event + begin, end - begin);
    } else {
        error = kernel_stack.perf_submit(ctx, stack->event + begin, end - begin);
        if (!error && id)
            *seen = id + *now;
    }
    counted(stack->kind, error);
    return error;
}

/* Send the event with the user stack that was looked through. */
static __always_inline int send_user_stack(void *ctx, struct stacks *stack)
{
    u32 zero = 0, slot = stack->id & 65535;
    u64 *seen = told.lookup(&slot), *now = segment.lookup(&zero);

    if (!seen || !now)
        return 0;
    if (*seen == stack->id + *now) {
        stack->words = stack->flags = 0;
        submit(ctx, stack, __builtin_offsetof(struct stacks, ip));
    } else if (!submit(ctx, stack, __builtin_offsetof(struct stacks, word) + 8 * (stack->words & WORDS_AT_MOST))) {
        *seen = stack->id + *now;
    }
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

static __always_inline int emit_with_stack(void *ctx, void *event, u32 size, int kind)
{
    u32 zero = 0;
    struct stacks *stack = scratch.lookup(&zero);
    int user;

    if (!stack)
        return 0;
    set_number(event, size, kind);
    user = begins_user_stack(stack);
    if (user == NOT_OURS)
        return counted(kind, with_stack.perf_submit(ctx, event, size));
    note_event(stack, event, size, kind, KERNEL_STACK_FLAG | (user == OURS ? USER_STACK_FLAG : 0));
    find_kernel_stack_id(ctx, stack);
    if (user == OURS) {
        stack->place = 0;
        from_tracepoint.call(ctx, 0);
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
    return 0;
}

int look_on_from_tracepoint(struct bpf_raw_tracepoint_args *ctx)
{
    u32 zero = 0;
    struct stacks *stack = scratch.lookup(&zero);

    if (!stack)
        return 0;
    stack->flags &= ~CUT;
    if (look_through_page(stack))
        from_tracepoint.call(ctx, 0);
    if (stack->is_python && (stack->python_frame = first_python_frame(stack)))
        from_tracepoint.call(ctx, 1);
    return send_user_stack(ctx, stack);
}

int walk_python_from_tracepoint(struct bpf_raw_tracepoint_args *ctx)
{
    u32 zero = 0;
    struct stacks *stack = scratch.lookup(&zero);

    if (!stack)
        return 0;
    if (walk_python(ctx, stack))
        from_tracepoint.call(ctx, 1);
    return send_user_stack(ctx, stack);
}

int look_on_from_sample(struct bpf_perf_event_data *ctx)
{
    u32 zero = 0;
    struct stacks *stack = scratch.lookup(&zero);

    if (!stack)
        return 0;
    stack->flags &= ~CUT;
    if (look_through_page(stack))
        from_sample.call(ctx, 0);
    if (stack->is_python && (stack->python_frame = first_python_frame(stack)))
        from_sample.call(ctx, 1);
    return send_user_stack(ctx, stack);
}

int walk_python_from_sample(struct bpf_perf_event_data *ctx)
{
    u32 zero = 0;
    struct stacks *stack = scratch.lookup(&zero);

    if (!stack)
        return 0;
    if (walk_python(ctx, stack))
        from_sample.call(ctx, 1);
    return send_user_stack(ctx, stack);
}
