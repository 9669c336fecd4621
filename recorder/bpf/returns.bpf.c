/*
 * Return addresses that the kernel has replaced, to hear of a function's return: those of functions that are timed, by this
 * recording or by anybody else. On the stack is the address of a trampoline; the kernel keeps the true one.
 */

#ifdef TASK_UPROBES
/* Note the true return addresses of the current thread, the innermost first, as far as there is room. */
static __always_inline void note_returns(struct stacks *stack)
{
    u64 task = bpf_get_current_task(), of;

    stack->trampoline = stack->returns = 0;
    if (!OF_CURRENT(TASK_UPROBES))
        return;
    of = read_u64(read_u64(task + TASK_UPROBES) + UPROBES_RETURNS);
    if (!of)
        return;
    stack->trampoline = read_u64(read_u64(read_u64(task + TASK_MM) + MM_TRAMPOLINES) + TRAMPOLINES_BEGIN);
    for (int i = 0; i < RETURNS && of; i++) {
        stack->return_at[i] = read_u64(of + RETURN_AT);
        stack->return_to[i] = read_u64(of + RETURN_TO);
        stack->returns = i + 1;
        of = read_u64(of + RETURN_NEXT);
    }
}

/* Put the true return addresses into a piece of the stack that was read there. */
static __always_inline void put_returns(struct stacks *stack, u64 at)
{
    for (int i = 0; i < RETURNS && i < stack->returns; i++) {
        u64 place = stack->return_at[i] - at;

        if (place < PIECE && stack->piece[place >> 3] == stack->trampoline)
            stack->piece[place >> 3] = stack->return_to[i];
    }
}
#else
#define note_returns(stack) ((stack)->trampoline = 0)
#define put_returns(stack, at)
#endif
