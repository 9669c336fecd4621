/* Of each source that adds up numbers: their place by key, 0 where there is no room for one more key. */

BPF_TABLE("hash", struct NAME_key, struct NAME_value, NAME, ENTRIES);
BPF_ARRAY(NAME_missed, u64, 1);

static __always_inline struct NAME_value *NAME_at(struct NAME_key *key)
{
    struct NAME_value *value = NAME.lookup(key), nothing = {};
    u32 zero = 0;

    if (value)
        return value;
    NAME.insert(key, &nothing); /* somebody else may just have done that */
    value = NAME.lookup(key);
    u64 *missed = NAME_missed.lookup(&zero);
    if (!value && missed)
        __sync_fetch_and_add(missed, 1);
    return value;
}
