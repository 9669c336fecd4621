/*
 * The user stack's id, in place of a look through all of it.
 *
 * Where a function's caller is to be found, its file's unwind tables say. user_frames.py tells of each return address that is
 * met what they say of it; so the way up goes from one to the next, and the id is the hash of all of them: whoever unwinds
 * a stack of this id later goes the same way. The stack is looked through only to be sent, once a segment, and where
 * something is not known of the way.
 */

#define USER_FRAMES_AT_MOST 96
#define LOOKS_BEFORE_ASKING 16  /* a process whose stacks were looked through so often is worth tables … */
#define ASKED_FOR 0xffff        /* … which are asked for among the lessons, in place of a kind of event */
#define INTERRUPTED (1ULL << 63) /* in a key: what is run next, not what a call returns to */
#define FARTHEST (1 << 22)       /* bytes of one frame */

/* What is known of a return address: a kind, where the caller's frame pointer lies << 8, and the frame's size << 32. */
#define BY_SP 1 /* the frame begins so many bytes above the stack pointer; its return address is the word below, … */
#define BY_FP 2 /* … or above the frame pointer */
#define OUTERMOST 3
#define NO_WAY 4
#define FP_WORDS(rule) ((rule) >> 8 & 0xffffff) /* below the frame's beginning; 0: the caller's is the same */

BPF_ARRAY(user_frames, struct frames, BUCKETS); /* by space << 47 | return address */

/* Ask once what is to be known of a return address, if there is room for the answer. */
static __always_inline void ask_for(void *ctx, struct stacks *stack, struct frames *found, u64 address, u64 key)
{
    u32 tgid = stack->tgid;
    struct code *code = code_of.lookup(&tgid);

    if (!code || ++code->looks < LOOKS_BEFORE_ASKING)
        return;
    for (int way = 0; way < WAYS; way++) {
        if (found->key[way])
            continue;
        found->key[way] = key;
        stack->word[0] = ASKED_FOR | (u64)tgid << 32;
        stack->word[1] = address;
        if (lessons.perf_submit(ctx, stack->word, 16))
            found->key[way] = 0;
        return;
    }
}

/* Find the user stack's id; returns 0 where something is not known of the way. */
static __always_inline int find_user_stack_id(void *ctx, struct stacks *stack)
{
    u64 sp = stack->sp, fp = stack->bp, fp_at = 0, address = stack->ip | INTERRUPTED, id = mixed(stack->tgid, stack->ip);
    u64 as_before = mixed(mixed(mixed(id, sp), fp), stack->space), known = id_of_way(stack, as_before);

    if (known) {
        stack->id = known;
        return 1;
    }
    begin_way(stack, as_before);
    TURNS (i, stack, USER_FRAMES_AT_MOST) {
        u64 key = (u64)stack->space << ADDRESS_BITS | address, rule, kind, frame;
        u32 bucket = bucket_of(key), way;
        struct frames *found = user_frames.lookup(&bucket);

        if (!found)
            return 0;
        way = way_of(found, key) & (WAYS - 1);
        if (found->key[way] != key) {
            ask_for(ctx, stack, found, address, key);
            return 0;
        }
        rule = found->rule[way];
        kind = rule & 0xff;
        if (kind == OUTERMOST)
            break;
        if (kind == BY_SP) {
            frame = sp;
        } else if (kind == BY_FP) {
            if (fp_at) {
                if (read_user(&fp, sizeof(fp), (void *)fp_at))
                    return 0;
                note_place(stack, fp_at, fp);
            }
            fp_at = 0;
            frame = fp;
        } else {
            return 0;
        }
        frame += rule >> 32;
        if (frame - sp - 8 >= FARTHEST || read_user(&address, sizeof(address), (void *)(frame - 8)))
            return 0;
        note_place(stack, frame - 8, address);
        if (address == stack->trampoline && address)
            return 0;
        if (FP_WORDS(rule))
            fp_at = frame - 8 * FP_WORDS(rule);
        sp = frame;
        id = mixed(id, address);
        if (!is_address(address))
            break;
        if (i == USER_FRAMES_AT_MOST - 1)
            return 0;
    }
    stack->id = id;
    keep_way(stack, id);
    return 1;
}
