/*
 * The way through a user stack, kept for the next time.
 *
 * A thread that waits again where it waited before has the same registers, and the same words lie on the way from caller to
 * caller. So the places where they were read are kept, with the id that came of them: if nothing has changed there, the same
 * way would be gone again. The stack is read in one go, which costs as much as a word or two of it.
 */

BPF_ARRAY(ways, struct way, 1 << WAYS_BITS); /* by the first bits of the key; if two CPUs write one at a time, `sum` is not its */

/* Find the id that came of a way, if it would be gone again. The key names all else that it depends on. */
static __always_inline u64 id_of_way(struct stacks *stack, u64 key)
{
    u32 slot = key >> (64 - WAYS_BITS);
    struct way *way = ways.lookup(&slot);
    u64 sum = key, size;

    if (!way || way->key != key)
        return 0;
    size = 8 * ((((u64)way->words - 1) & (WAY_WORDS - 1)) + 1); /* a comparison would tell only new verifiers how much it is */
    if (read_user(stack->word, size, (void *)stack->sp))
        return 0;
    for (u32 i = 0; i < PLACES && i < way->count; i++)
        sum = mixed(sum, stack->word[way->place[i] & (WAY_WORDS - 1)]);
    return mixed(sum, way->id) == way->sum ? way->id : 0;
}

static __always_inline void begin_way(struct stacks *stack, u64 key)
{
    stack->way.key = stack->way.sum = key;
    stack->way.words = stack->way.count = 0;
}

/* Note a word on the way, and where it was read. */
static __always_inline void note_place(struct stacks *stack, u64 place, u64 word)
{
    u64 above = place - stack->sp;
    u32 count = stack->way.count;

    if (count >= PLACES || above >= 8 * WAY_WORDS || above & 7) {
        stack->way.count = PLACES + 1; /* it is not kept */
        return;
    }
    stack->way.place[count] = above >> 3;
    stack->way.sum = mixed(stack->way.sum, word);
    stack->way.count = count + 1;
    if (above >> 3 >= stack->way.words)
        stack->way.words = (above >> 3) + 1;
}

static __always_inline void keep_way(struct stacks *stack, u64 id)
{
    u32 slot = stack->way.key >> (64 - WAYS_BITS);
    struct way *way = ways.lookup(&slot);

    stack->way.id = id;
    stack->way.sum = mixed(stack->way.sum, id);
    if (way && stack->way.words && stack->way.count <= PLACES)
        *way = stack->way;
}
