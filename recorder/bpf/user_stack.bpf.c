/*
 * Whole user stacks, also through code that keeps no frame pointers: what an unwinder needs of the stack goes with the event.
 *
 * An unwinder follows return addresses and saved frame pointers. So of all words above the stack pointer only those are kept
 * that point into code of this process, or into this stack: a few dozen of a thousand. And they hardly ever differ from
 * what the same call path left there before: their hash names the stack, and the words themselves are sent once a segment.
 * The analyzer unwinds them, with the tables that the file carries.
 *
 * A program looks at a page, then calls itself for the next one: so the verifier goes through one page, however large stacks
 * are.
 */

#define GRANULE_BITS 16 /* code_map.py says what a map of code is */
#define REGION_BITS 28
#define ADDRESS_BITS 47
#define LOWEST_ADDRESS (1ULL << GRANULE_BITS) /* nothing is mapped below, vm.mmap_min_addr */
#define HIGHEST_ADDRESS (1ULL << ADDRESS_BITS)
#define STACK_BYTES (1 << STACK_BITS)
#define CUT 1      /* flags of a stack: it goes on above what was looked at; … */
#define HERE 2     /* … its words are here, not only its id; … */
#define FOLLOWED 4 /* … and the id is of the return addresses, not of the words */
#define COMPAT_CODE_SEGMENT 0x23

/* By their numbers: bcc looks the names up, each time, in all of /proc/kallsyms, which takes a second. */
static long (*read_user)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_user;
static long (*read_user_text)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_user_str;

#define TRUE 1      /* of code: it is of the program that the process runs … */
#define IS_PYTHON 2 /* … which is one */
struct code { u32 flags, space; u64 looks, granules[64], regions[8]; }; /* space: of those with the same mappings, or 0 */
BPF_F_TABLE("hash", u32, struct code, code_of, PROCESSES, AS_NEEDED); /* by process; 0: of one that is not known yet */

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

#ifdef REDACTED
/*
 * 1 where a number that may point into code is as likely an IPv4 address or six letters: nothing that a process of which it
 * is not known where its code lies has on its stack tells otherwise.
 */
static __always_inline u64 may_tell(struct stacks *stack, u64 value)
{
    u64 is_text = is_zero((value | (value - 0x202020202020) | (value + 0x010101010101)) & 0x808080808080);

    return !stack->code & (is_zero(value >> 32) | is_text);
}
#else
#define may_tell(stack, value) 0
#endif

static __always_inline int is_address(u64 value)
{
    return value - LOWEST_ADDRESS < HIGHEST_ADDRESS - LOWEST_ADDRESS;
}

/* Keep what matters of a piece whose first word lies so many words above the stack pointer; returns how many are kept in all. */
static __always_inline u64 look_at(struct stacks *stack, struct code *code, u64 place)
{
    u64 sp = stack->sp;

    TURNS (turn, stack, PIECE_WORDS / WORDS_A_TURN) {
        for (u64 of_turn = 0; of_turn < WORDS_A_TURN; of_turn++) {
            u64 i = WORDS_A_TURN * turn + of_turn, value = stack->piece[i];

            if (is_address(value) &&
                ((may_be_code(code, value) & ~may_tell(stack, value)) | is_zero((value - sp) >> STACK_BITS))) {
                u64 n = stack->words, word = (place + i) << 48 | value;

                stack->word[n & WORDS_AT_MOST] = word;
                stack->words = n + 1;
                stack->id += part_of_id(word);
            }
        }
    }
    return stack->words;
}

/* Note what only a look through the stack needs. */
static __always_inline void begin_look(struct stacks *stack, struct code *code)
{
    void *registers = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
    u64 bx = LOADED(u64, registers, REGS_BX), di = LOADED(u64, registers, REGS_DI);
    u64 mm = read_u64(bpf_get_current_task() + TASK_MM);

    if (!((bx - stack->sp) >> STACK_BITS))
        stack->bx = bx;
    if (code && is_address(di) && may_be_code(code, di) && !may_tell(stack, di))
        stack->di = di;
    stack->id = mixed(mixed(mixed(mixed(mixed(stack->tgid, stack->ip), stack->sp), stack->bp), stack->bx), stack->di);
    stack->end = read_u64(mm + MM_START_STACK); /* of the first thread's stack; above it are the program's arguments */
    if ((stack->end - stack->sp) >> STACK_BITS)
        stack->end = ~0ULL;
}

/*
 * Keep what matters of the next page; returns whether there are more. Pieces are aligned: only the first is not read whole.
 */
static __always_inline int look_through_page(struct stacks *stack)
{
    u32 key = stack->code;
    struct code *code = code_of.lookup(&key);

    if (!stack->place)
        begin_look(stack, code);
    if (!code)
        return 0;
    TURNS (i, stack, PAGE / PIECE) {
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
        put_returns(stack, at);
        stack->place = place + PIECE_WORDS;
        if (look_at(stack, code, place - (below >> 3)) > WORDS_AT_MOST - PIECE_WORDS)
            break;
    }
    stack->flags |= CUT;
    return stack->words <= WORDS_AT_MOST - PIECE_WORDS && 8 * stack->place < STACK_BYTES;
}

/* Whether a thread has a user stack, and it can be looked through here. */
#define NO_USER_STACK 0
#define NOT_OURS 1
#define OURS 2

/* Note the registers of the user stack, from which the look through it begins. */
static __always_inline int begins_user_stack(struct stacks *stack)
{
    u32 zero = 0, tgid = bpf_get_current_pid_tgid() >> 32;
    struct code *code = code_of.lookup(&tgid);
    void *registers;

    if (!tgid || !OF_CURRENT(TASK_MM))
        return NO_USER_STACK;
    stack->code = tgid;
    if (!code || !(code->flags & TRUE)) {
        stack->code = 0;
        code = code_of.lookup(&zero);
        if (!code)
            return NOT_OURS;
    }
    registers = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
    stack->ip = LOADED(u64, registers, REGS_IP);
    stack->sp = LOADED(u64, registers, REGS_SP);
    stack->bp = LOADED(u64, registers, REGS_BP);
    stack->bx = stack->di = 0;
    if (!stack->sp || stack->sp & 7 || stack->sp >> ADDRESS_BITS || LOADED(u16, registers, REGS_CS) == COMPAT_CODE_SEGMENT)
        return NOT_OURS;
    if ((stack->bp - stack->sp) >> STACK_BITS)
        stack->bp = 0;
    note_returns(stack);
    stack->is_python = code->flags & IS_PYTHON;
    stack->tgid = tgid;
    stack->space = stack->code ? code->space : 0;
    stack->is_followed = stack->name = 0;
    stack->words = 0;
    stack->flags = HERE;
    stack->place = 0;
    return OURS;
}
