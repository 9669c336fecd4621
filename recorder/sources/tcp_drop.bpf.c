/*
 * A packet that was dropped: what it is is read from its headers, because many a dropped one has no socket: that is why.
 *
 * Before the kernel had reasons, and where it has none, "not specified" also stands for packets that simply were used up.
 */

#define AF_INET 2
#define AF_INET6 10
#define TCP 6

/* Read what matters of an IP header; returns how long it is, 0 if no TCP segment follows. */
static __always_inline u32 read_ip(struct tcp_drop *e, u64 at)
{
    u8 header[40] = {};
    u8 version;

    bpf_probe_read_kernel(header, sizeof(header), (void *)at);
    version = header[0] >> 4;
    if (version == 4 && header[9] == TCP && !(header[6] & 0x1f) && !header[7]) { /* the first fragment has the ports */
        e->family = AF_INET;
#ifndef REDACTED
        __builtin_memcpy(e->source, header + 12, 4);
        __builtin_memcpy(e->destination, header + 16, 4);
#endif
        return 4 * (header[0] & 15);
    }
    if (version == 6 && header[6] == TCP) {
        e->family = AF_INET6;
#ifndef REDACTED
        __builtin_memcpy(e->source, header + 8, 16);
        __builtin_memcpy(e->destination, header + 24, 16);
#endif
        return sizeof(header);
    }
    return 0;
}

int on_tcp_drop(struct bpf_raw_tracepoint_args *ctx)
{
    struct tcp_drop e = {.kind = KIND_tcp_drop};
    u64 packet = ctx->args[0], header;
    u32 length;
    u8 tcp[14] = {};

    e.reason = ctx->args[2];
    if (e.reason <= VALUE(skb_drop_reason.SKB_DROP_REASON_NOT_SPECIFIED))
        return 0;
    header = read_u64(packet + OFFSET(sk_buff.head)) + (u16)read_u32(packet + OFFSET(sk_buff.network_header));
    length = read_ip(&e, header);
    if (!length)
        return 0;
    bpf_probe_read_kernel(tcp, sizeof(tcp), (void *)(header + length));
    __builtin_memcpy(&e.source_port_be, tcp, 2);
    __builtin_memcpy(&e.destination_port_be, tcp + 2, 2);
    e.tcp_flags = tcp[13];
    e.length = read_u32(packet + OFFSET(sk_buff.len));
    e.tid = (u32)bpf_get_current_pid_tgid();
#if ARGUMENTS(kfree_skb) > 3
    e.socket = ctx->args[3]; /* the receiver's, since Linux 6.11 */
#endif
    if (!e.socket)
        e.socket = read_u64(packet + OFFSET(sk_buff.sk));
    if (e.socket)
        e.state = (u8)read_u32(e.socket + OFFSET(sock_common.skc_state));
    return emit_with_kernel_chain(ctx, &e, sizeof(e), KIND_tcp_drop);
}
