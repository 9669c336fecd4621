/*
 * Whole user stacks, also through code that keeps no frame pointers: what an unwinder needs of the stack goes with the event.
 *
 * An unwinder follows return addresses and saved frame pointers. So of all words above the stack pointer only those are kept
 * that point into code of this process, or into this stack: a few dozen of a thousand. And they hardly ever differ from
 * what the same call path left there before: their hash names the stack, and the words themselves are sent once a segment.
 * The analyzer unwinds them, with the tables that the file carries.
 *
 * A program looks at a page, then calls itself for the next one: so the verifier goes through one page, however large stacks
 * are. It follows every branch of every turn of a loop, unless what is known is the same again: so what comes out differently
 * on different ways lies in the map, where it does not look.
 */

#define GRANULE_BITS 16 /* code_map.py says what a map of code is */
#define REGION_BITS 28
#define ADDRESS_BITS 47
#define LOWEST_ADDRESS (1ULL << GRANULE_BITS) /* nothing is mapped below, vm.mmap_min_addr */
#define HIGHEST_ADDRESS (1ULL << ADDRESS_BITS)
#define HASH_FACTOR 0x9e3779b97f4a7c15ULL
#define PAGE 4096
#define PIECE 512 /* bytes that are read in one go */
#define PIECE_WORDS (PIECE / 8)
#define STACK_BYTES (1 << STACK_BITS)
#define WORDS_AT_MOST 2047 /* of those, the last are Python's */
#define PYTHON_FRAMES_AT_ONCE 16
#define PYTHON_FRAME_BYTES 80
#define PYTHON_CODE (0xf000ULL << 48) /* in place of a word's place: a frame's code object … */
#define PYTHON_CALLED (0xf001ULL << 48) /* … and that the frame before was called from C */
#define DIRECT 0xffffffff
#define THREAD_DATA 0x310 /* glibc's struct pthread, specific_1stblock: 32 pairs of a sequence number and what is set */
#define THREAD_KEYS 32
#define EVENT_ROOM 64
#define STACK_FLAG 0x8000 /* in an event's flags: a user stack follows the event */
#define CUT 1             /* flags of a stack: it goes on above what was looked at; its words are here, not only its id */
#define HERE 2
#define COMPAT_CODE_SEGMENT 0x23

/* By their numbers: bcc looks the names up, each time, in all of /proc/kallsyms, which takes a second. */
static long (*read_user)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_user;
static long (*read_user_text)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_user_str;

#define TRUE 1      /* of code: it is of the program that the process runs … */
#define IS_PYTHON 2 /* … which is one */
struct code { u64 granules[64], regions[8], flags; };
BPF_F_TABLE("hash", u32, struct code, code_of, 65536, 1); /* by process; 0: of one that is not known yet; 1: BPF_F_NO_PREALLOC */

#define CODE_OBJECT_FROM 64
struct code_object { u32 before, line, line_of_3_11, after[9]; u64 file, between, function; }; /* part of PyCodeObject */

struct user_stack {
    u8 event[EVENT_ROOM]; /* its last bytes are the event; what follows is sent with it: the next line alone, or all words too */
    u64 id; u32 tgid; u16 words, flags;
    u64 ip, sp, bp, bx, di;
    u64 word[WORDS_AT_MOST + 1]; /* place above the stack pointer, in words, << 48 | what is there */
    u64 piece[2 * PIECE_WORDS], place, end;
    u32 kind, begin, code; /* of the event; where it begins; whose map of code holds */
    u64 is_python, python_frame, python_id;
    u8 frame[128]; /* of Python */
    struct code_object object;
    struct python_code python_code;
};
BPF_PERCPU_ARRAY(user_stacks, struct user_stack, 1); /* its users all run with interrupts off */
BPF_ARRAY(told, u64, 65536);                         /* stacks that were sent in this segment, by the end of their ids */
BPF_ARRAY(segment, u64, 1);

struct python { u64 key; u32 frame, current, code, previous, mark, shim, text; }; /* python.py, Layout */
BPF_F_TABLE("hash", u32, struct python, python_of, 65536, 1);
BPF_ARRAY(python_told, u64, 16384); /* code objects that were sent in this segment, by the end of their ids */

/*
 * A word's part of its stack's id, which is their sum: the same numbers in other places must not add up to the same, so every bit
 * of a word has to tell in every bit of its part. Source: the finalizer of MurmurHash3.
 */
static __always_inline u64 part_of_id(u64 word)
{
    word = (word ^ word >> 33) * 0xff51afd7ed558ccdULL;
    word = (word ^ word >> 33) * 0xc4ceb9fe1a85ec53ULL;
    return word ^ word >> 33;
}

static __always_inline u64 mixed(u64 hash, u64 value)
{
    hash = (hash ^ value) * HASH_FACTOR;
    return hash ^ hash >> 29;
}

/* 1 if a number is 0, else 0; it is less than 1 << 63. */
static __always_inline u64 is_zero(u64 number)
{
    return (number - 1) >> 63;
}

/* 1 where a number may point into code, if it is an address at all. */
static __always_inline u64 may_be_code(struct code *code, u64 value)
{
    return code->granules[value >> (GRANULE_BITS + 6) & 63] >> (value >> GRANULE_BITS & 63) &
           code->regions[value >> (REGION_BITS + 6) & 7] >> (value >> REGION_BITS & 63) & 1;
}

static __always_inline int is_address(u64 value)
{
    return value - LOWEST_ADDRESS < HIGHEST_ADDRESS - LOWEST_ADDRESS;
}

/* Keep what matters of a piece whose first word lies so many words above the stack pointer; returns how many are kept in all. */
static __always_inline u64 look_at(struct user_stack *stack, struct code *code, u64 place)
{
    u64 sp = stack->sp;

    for (u64 i = 0; i < PIECE_WORDS; i++) {
        u64 value = stack->piece[i];

        if (is_address(value) && (may_be_code(code, value) | is_zero((value - sp) >> STACK_BITS))) {
            u64 n = stack->words, word = (place + i) << 48 | value;

            stack->word[n & WORDS_AT_MOST] = word;
            stack->words = n + 1;
            stack->id += part_of_id(word);
        }
    }
    return stack->words;
}

/*
 * Keep what matters of the next page; returns whether there are more. Pieces are aligned: only the first is not read whole.
 */
static __always_inline int look_through_page(struct user_stack *stack)
{
    u32 key = stack->code;
    struct code *code = code_of.lookup(&key);

    if (!code)
        return 0;
    for (int i = 0; i < PAGE / PIECE; i++) {
        u64 place = stack->place, below = stack->sp & (PIECE - 1), at = (stack->sp & -PIECE) + 8 * place;
        int error;

        if (at >= stack->end)
            return 0;
        if (place) {
            error = read_user(stack->piece, PIECE, (void *)at);
        } else {
            __builtin_memset(stack->piece, 0, PIECE);
            error = read_user((u8 *)stack->piece + below, PIECE - below, (void *)stack->sp);
        }
        if (error) /* the end of the mapping */
            return 0;
        stack->place = place + PIECE_WORDS;
        if (look_at(stack, code, place - (below >> 3)) > WORDS_AT_MOST - PIECE_WORDS)
            break;
    }
    stack->flags |= CUT;
    return stack->words <= WORDS_AT_MOST - PIECE_WORDS && 8 * stack->place < STACK_BYTES;
}

/* Send the event with the stack that was looked through. */
static __always_inline int send_user_stack(void *ctx, struct user_stack *stack)
{
    u32 zero = 0, kind = stack->kind, slot = stack->id & 65535;
    u64 begin = stack->begin & (EVENT_ROOM - 1), length = __builtin_offsetof(struct user_stack, ip) - begin;
    u64 *seen = told.lookup(&slot), *now = segment.lookup(&zero);
    int error;

    if (!seen || !now)
        return 0;
    if (*seen == stack->id + *now) {
        stack->words = stack->flags = 0;
        return counted(kind, kernel_stack.perf_submit(ctx, stack->event + begin, length));
    }
    length += __builtin_offsetof(struct user_stack, word) - __builtin_offsetof(struct user_stack, ip);
    length += 8 * (stack->words & WORDS_AT_MOST);
    error = kernel_stack.perf_submit(ctx, stack->event + begin, length);
    if (!error)
        *seen = stack->id + *now;
    return counted(kind, error);
}

/* Send what a code object, which was read, is called, once a segment. */
static __always_inline void tell_python_code(void *ctx, struct user_stack *stack, struct python *python)
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
static __always_inline u64 python_code_id(struct user_stack *stack, u64 code)
{
    struct code_object *object = &stack->object;

    if (read_user(object, sizeof(*object), (void *)(code + CODE_OBJECT_FROM)))
        return 0;
    return mixed(mixed(mixed(mixed(stack->tgid, code), object->file), object->function), *(u64 *)object) << 16 >> 16;
}

/* Find the innermost frame of the thread, which whoever runs next goes on from; 0 where there is none. */
static __always_inline u64 first_python_frame(struct user_stack *stack)
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

static __always_inline void keep_python(struct user_stack *stack, u64 word)
{
    u64 n = stack->words;

    stack->word[n & WORDS_AT_MOST] = word;
    stack->id = mixed(stack->id, word);
    stack->words = n + 1;
}

/* Keep the next frames; returns whether there are more. */
static __always_inline int walk_python(void *ctx, struct user_stack *stack)
{
    u32 tgid = stack->tgid;
    struct python *python = python_of.lookup(&tgid);

    if (!python)
        return 0;
    for (int i = 0; i < PYTHON_FRAMES_AT_ONCE; i++) {
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
    struct user_stack *stack = user_stacks.lookup(&zero);

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
    struct user_stack *stack = user_stacks.lookup(&zero);

    if (!stack)
        return 0;
    if (walk_python(ctx, stack))
        from_tracepoint.call(ctx, 1);
    return send_user_stack(ctx, stack);
}

int look_on_from_sample(struct bpf_perf_event_data *ctx)
{
    u32 zero = 0;
    struct user_stack *stack = user_stacks.lookup(&zero);

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
    struct user_stack *stack = user_stacks.lookup(&zero);

    if (!stack)
        return 0;
    if (walk_python(ctx, stack))
        from_sample.call(ctx, 1);
    return send_user_stack(ctx, stack);
}

static __always_inline int begins_user_stack(void *event, u32 size, int kind)
{
    u32 zero = 0, tgid = bpf_get_current_pid_tgid() >> 32;
    u64 registers, mm;
    struct user_stack *stack = user_stacks.lookup(&zero);
    struct code *code = code_of.lookup(&tgid);

    if (!tgid || !stack)
        return 0;
    mm = read_u64(bpf_get_current_task() + TASK_MM);
    if (!mm)
        return 0;
    stack->code = tgid;
    if (!code || !(code->flags & TRUE)) {
        stack->code = 0;
        code = code_of.lookup(&zero);
        if (!code)
            return 0;
    }
    registers = (u64)bpf_task_pt_regs(bpf_get_current_task_btf());
    stack->ip = read_u64(registers + REGS_IP);
    stack->sp = read_u64(registers + REGS_SP);
    stack->bp = read_u64(registers + REGS_BP);
    stack->bx = read_u64(registers + REGS_BX);
    stack->di = read_u64(registers + REGS_DI);
    if (!stack->sp || stack->sp & 7 || stack->sp >> ADDRESS_BITS || (u16)read_u64(registers + REGS_CS) == COMPAT_CODE_SEGMENT)
        return 0;
    if ((stack->bp - stack->sp) >> STACK_BITS)
        stack->bp = 0;
    if ((stack->bx - stack->sp) >> STACK_BITS)
        stack->bx = 0;
    if (!is_address(stack->di) || !may_be_code(code, stack->di))
        stack->di = 0;
    stack->is_python = code->flags & IS_PYTHON;
    stack->tgid = tgid;
    stack->words = 0;
    stack->flags = HERE;
    stack->place = 0;
    stack->id = mixed(mixed(mixed(mixed(mixed(tgid, stack->ip), stack->sp), stack->bp), stack->bx), stack->di);
    stack->end = read_u64(mm + MM_START_STACK); /* of the first thread's stack; above it are the program's arguments */
    if ((stack->end - stack->sp) >> STACK_BITS)
        stack->end = ~0ULL;
    stack->kind = kind;
    stack->begin = EVENT_ROOM - size;
    bpf_probe_read_kernel(stack->event + EVENT_ROOM - size, size, event);
    *(u16 *)(stack->event + EVENT_ROOM - size + 2) |= STACK_FLAG;
    return 1;
}
