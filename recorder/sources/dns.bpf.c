/*
 * A look-up of a name is noted where it begins and sent where it returns. The name is read then: before, its page may not have
 * been touched. One function may go on as another (musl's gethostbyname is a jump to gethostbyname2): that is the same call.
 */

struct lookup { u64 began_ns, host; };
BPF_TABLE("lru_hash", struct call, struct lookup, lookups, 16384);

int on_lookup_call(struct registers *ctx)
{
    struct call call = call_of(ctx, 0);
    struct lookup lookup = {bpf_ktime_get_ns(), ctx->di};

    lookups.update(&call, &lookup);
    return 0;
}

static __always_inline int on_lookup_end(struct registers *ctx, int failed)
{
    struct dns_lookup e = {.kind = KIND_dns_lookup};
    struct call call = call_of(ctx, 1);
    struct lookup *lookup = lookups.lookup(&call);

    if (!lookup)
        return 0;
    e.tid = (u32)call.thread;
    e.tgid = call.thread >> 32;
    e.failed = failed;
    e.latency_ns = bpf_ktime_get_ns() - lookup->began_ns;
#ifndef REDACTED
    bpf_probe_read_user_str(&e.host, sizeof(e.host), (void *)lookup->host);
#endif
    lookups.delete(&call);
    return emit_from_probe(ctx, &e, sizeof(e), KIND_dns_lookup);
}

int on_getaddrinfo_return(struct registers *ctx)
{
    return on_lookup_end(ctx, (u32)ctx->ax != 0);
}

int on_gethostbyname_return(struct registers *ctx)
{
    return on_lookup_end(ctx, ctx->ax == 0);
}
