/*
 * The functions of Python in a user stack: along the interpreter's own list of frames, which begins in the thread's state.
 */

#define PYTHON_FRAMES_AT_ONCE 16
#define PYTHON_FRAME_BYTES 80
#define PYTHON_CODE (0xf000ULL << 48) /* in place of a word's place: a frame's code object … */
#define PYTHON_CALLED (0xf001ULL << 48) /* … and that the frame before was called from C */
#define DIRECT 0xffffffff
#define THREAD_DATA 0x310 /* glibc's struct pthread, specific_1stblock: 32 pairs of a sequence number and what is set */
#define THREAD_KEYS 32

struct python { u64 key; u32 frame, current, code, previous, mark, shim, text; }; /* python.py, Layout */
BPF_F_TABLE("hash", u32, struct python, python_of, PROCESSES, AS_NEEDED);

/* Send what a code object, which was read, is called, once a segment. */
static __always_inline void tell_python_code(void *ctx, struct stacks *stack, struct python *python)
{
    u64 id = stack->python_id;
    u32 zero = 0, slot = id & 16383;
    u64 *seen = python_told.lookup(&slot), *now = segment.lookup(&zero);
    struct python_code *e = &stack->python_code;
    int error;

    if (!id || !seen || !now || *seen == id + *now)
        return;
    e->kind = KIND_python_code;
    e->tgid = stack->tgid;
    e->line = python->shim ? stack->object.line : stack->object.line_of_3_11;
    e->code = id;
    __builtin_memset(e->function, 0, sizeof(e->function) + sizeof(e->file));
    read_user_text(e->function, sizeof(e->function), (void *)(stack->object.function + python->text));
    read_user_text(e->file, sizeof(e->file), (void *)(stack->object.file + python->text));
    error = without_stack.perf_submit(ctx, e, sizeof(*e));
    if (!error)
        *seen = id + *now;
    counted(KIND_python_code, error);
}

/* What tells a code object from those that had its place in memory before it. */
static __always_inline u64 python_code_id(struct stacks *stack, u64 code)
{
    struct code_object *object = &stack->object;

    if (read_user(object, sizeof(*object), (void *)(code + CODE_OBJECT_FROM)))
        return 0;
    return mixed(mixed(mixed(mixed(stack->tgid, code), object->file), object->function), *(u64 *)object) << 16 >> 16;
}

/* Find the innermost frame of the thread, which whoever runs next goes on from; 0 where there is none. */
static __always_inline u64 first_python_frame(struct stacks *stack)
{
    u32 tgid = stack->tgid, key[2] = {};
    struct python *python = python_of.lookup(&tgid);
    u64 at;

    if (!python || read_user(key, sizeof(key), (void *)python->key) || !key[0] || key[1] >= THREAD_KEYS)
        return 0;
    at = read_u64(bpf_get_current_task() + TASK_FS) + THREAD_DATA + 16 * key[1] + 8;
    if (read_user(&at, sizeof(at), (void *)at) || read_user(&at, sizeof(at), (void *)(at + python->frame)))
        return 0;
    if (python->current != DIRECT && read_user(&at, sizeof(at), (void *)(at + python->current)))
        return 0;
    return at;
}

static __always_inline void keep_python(struct stacks *stack, u64 word)
{
    u64 n = stack->words;

    stack->word[n & WORDS_AT_MOST] = word;
    stack->id = mixed(stack->id, word);
    stack->words = n + 1;
}

/* Keep the next frames; returns whether there are more. */
static __always_inline int walk_python(void *ctx, struct stacks *stack)
{
    u32 tgid = stack->tgid;
    struct python *python = python_of.lookup(&tgid);

    if (!python)
        return 0;
    TURNS (i, stack, PYTHON_FRAMES_AT_ONCE) {
        u8 mark;

        if (!stack->python_frame || stack->words > WORDS_AT_MOST - 2 ||
            read_user(stack->frame, PYTHON_FRAME_BYTES, (void *)stack->python_frame))
            return 0;
        stack->python_frame = *(u64 *)(stack->frame + (python->previous & 120));
        mark = stack->frame[python->mark & 127];
        if (!python->shim || mark != python->shim) {
            stack->python_id = python_code_id(stack, *(u64 *)(stack->frame + (python->code & 120)));
            keep_python(stack, PYTHON_CODE | stack->python_id);
            tell_python_code(ctx, stack, python);
        }
        if (mark && (!python->shim || mark == python->shim))
            keep_python(stack, PYTHON_CALLED);
    }
    return 1;
}
