/*
 * Stacks without the cost of stacks: what an event carries of them, and where it is put together.
 *
 * The same waits come from the same places again and again. So a stack has a name, the hash of what matters of it, which goes
 * with every event that has it; the stack itself goes with the first one of a segment (some ten seconds) alone. Walking it
 * would cost more than all the rest of an event, and its bytes more than the event's.
 *
 * The verifier follows every branch of every turn of a loop, unless what is known is the same again: so what comes out
 * differently on different ways lies in the map, where it does not look.
 */

#define PAGE 4096
#define PIECE 512 /* bytes of a stack that are read in one go */
#define PIECE_WORDS (PIECE / 8)
#define WORDS_A_TURN 8
#define WORDS_AT_MOST 2047 /* of a user stack; of those, the last are Python's */
#define USER_STACK_FLAG 0x8000   /* in an event's flags: what a user stack is unwound from follows; … */
#define KERNEL_STACK_FLAG 0x4000 /* … before that, the id of the kernel stack, 0 if it has none: the kernel has walked it */
#define HASH_FACTOR 0x9e3779b97f4a7c15ULL

#define CODE_OBJECT_FROM 64
struct code_object { u32 before, line, line_of_3_11, after[9]; u64 file, between, function; }; /* part of PyCodeObject */

#define PLACES 114
#define WAY_WORDS 1024
#define WAYS_BITS 13
#define RETURNS 8
struct way { u64 key, id, sum; u16 words, count, place[PLACES]; }; /* see ways.bpf.c */

#define KERNEL_PLACES 64 /* a power of two, and more than are looked for */
struct kernel_way { u64 key, id; u16 count, last, is_interrupt, place[KERNEL_PLACES]; }; /* see kernel_stack.bpf.c */

struct stacks {
    u8 event[EVENT_ROOM]; /* its last bytes are the event; what follows is sent with it: the kernel stack's id alone, … */
    u64 kernel_id;
    u64 id; u32 tgid; u16 words, flags; /* … the user stack's id too … */
    u64 ip, sp, bp, bx, di;             /* … or all of it */
    u64 word[WORDS_AT_MOST + 1];        /* place above the stack pointer, in words, << 48 | what is there */
    u64 piece[2 * PIECE_WORDS], place, end, top, ahead;
    u64 of_interrupts, left_at, depth, interrupts_top, address, above, step; /* see kernel_stack.bpf.c */
    struct kernel_way kernel_way;
    u32 kind, begin, code, space; /* of the event; where it begins; whose map of code holds; which frames are known */
    u64 is_interrupt;             /* its kernel stack is that of an interrupt, on top of a thread's own code */
    struct way way;               /* the one that is being gone */
    u64 is_followed, name;        /* the id is by what was followed; the id, if not the hash of what was looked at */
    u64 trampoline, returns, return_at[RETURNS], return_to[RETURNS]; /* see returns.bpf.c; 0 if there are none */
    u64 is_python, python_frame, python_id, walks, zero;
    u8 frame[128]; /* of Python */
    struct code_object object;
    struct python_code python_code;
};
BPF_PERCPU_ARRAY(scratch, struct stacks, 1); /* its users all run with interrupts off */

BPF_ARRAY(segment, u64, 1);
BPF_ARRAY(told, u64, 65536);        /* user stacks that were sent in this segment, by the end of their ids; … */
BPF_ARRAY(kernel_told, u64, 16384); /* … kernel stacks … */
BPF_ARRAY(python_told, u64, 16384); /* … and code objects of Python */

/*
 * A loop of so many turns at most. The verifier goes through every turn that it can count. From Linux 6.9 on, with a jump out
 * of the loop that may happen at any turn (may_goto, 011832b97b31), it goes on only until a turn teaches it nothing more, if it
 * does not know the number of the turn: so that comes out of the map. Jumped is after eight million turns, or a quarter of a
 * second. Written in bytes (BPF_JMP | BPF_JCOND, the offset): no assembler of before knows it.
 */
#ifdef MAY_GOTO
#define TURNS(i, stack, at_most) for (u64 i = (stack)->zero; i < (at_most) && may_go_on(); i++)
#define may_go_on()                                                                                                            \
    ({                                                                                                                         \
        __label__ no, known;                                                                                                   \
        int may = 1;                                                                                                           \
        asm volatile goto("1: .byte 0xe5, 0; .long (%l[no] - 1b - 8) / 8 & 0xffff; .short 0" :::: no);                         \
        goto known;                                                                                                            \
    no: may = 0;                                                                                                               \
    known: may;                                                                                                                \
    })
#else
#define TURNS(i, stack, at_most) for (u64 i = 0; i < (at_most); i++)
#endif

#define OF_CURRENT(offset) LOADED(u64, bpf_get_current_task_btf(), offset)

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

/*
 * What is known of return addresses: where the way goes on to the caller's. frame_rules.py keeps a copy, and says of what a
 * key is: an address, or one in a space of addresses.
 */
#define WAYS 4
#define BUCKETS 32768
struct frames { u64 key[WAYS], rule[WAYS]; };

static __always_inline u32 bucket_of(u64 key)
{
    return key * HASH_FACTOR >> 49;
}

/* Where a key's rule stands in its bucket, if anywhere. */
static __always_inline u32 way_of(struct frames *bucket, u64 key)
{
    return bucket->key[0] == key ? 0 : bucket->key[1] == key ? 1 : bucket->key[2] == key ? 2 : 3;
}
