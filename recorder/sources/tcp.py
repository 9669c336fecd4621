"""TCP sessions: state changes, the process behind a socket, retransmits and resets.

The current thread says who owns a socket only at SYN_SENT and at the first send or receive: at accept time and at CLOSE
it is a stranger (on loopback, the peer). Data that become ready for somebody who waits are recorded where the network's
interrupt is about to wake: so a waking can be joined to what arrived.
"""

from offwake.recorder.sockets import ADDRESSES, IS_TCP, SOCKET, WHO, addresses
from offwake.recorder.sources import Event, Field, Source

STATE = Field("state", "u1", "args[0]->sock.__sk_common.skc_state")
# An empty list of waiters points to its own head, which lies in the queue.
SOMEBODY_WAITS = "{args[0]->sock.sk_wq.wait.head.next} - {args[0]->sock.sk_wq} > 256"
# What comes through the loopback device the sender itself delivers: its stack says what the waking was for.
IS_FROM_OUTSIDE = "{args[0]->sock.sk_rx_dst_ifindex} != 1"
FIRST_TRANSFER = (WHO, SOCKET, *ADDRESSES)

SOURCE = Source(
    name="tcp",
    summary="TCP state changes, retransmits, resets and arrivals: sessions, connect latency, what a network wake-up brought",
    default=True,
    events=(
        Event(
            "tcp_state",
            "inet_sock_set_state",
            (
                WHO,
                SOCKET,
                Field("old_state", "u4", "args[1]"),
                Field("new_state", "u4", "args[2]"),
                Field("bytes_acked", "u8", "args[0]->tcp_sock.bytes_acked"),
                Field("bytes_received", "u8", "args[0]->tcp_sock.bytes_received"),
                *ADDRESSES,
            ),
            when=IS_TCP,
        ),
        # Where no send is seen, before 6.3, the owner of a connection that comes in is known when it receives, or is closed.
        Event(  # at TCP's own sends since 6.16, at all sockets' before
            "tcp_first_send",
            "tcp_sendmsg_locked",
            FIRST_TRANSFER,
            when=IS_TCP,
            once_per="socket",
            optional=True,
            older="sock_send_length",
        ),
        Event(  # some of the kernel's own users receive in an interrupt: there the current thread is a stranger
            "tcp_first_receive",
            "tcp_rcv_space_adjust",
            FIRST_TRANSFER,
            when=f"is_on_own_stack(ctx) && {IS_TCP}",
            once_per="socket",
            optional=True,
        ),
        Event(
            "tcp_retransmit",
            "tcp_retransmit_skb",
            (WHO, SOCKET, Field("segments", "u2", "args[1]->sk_buff.cb(tcp_skb_cb).tcp_gso_segs"), STATE, *ADDRESSES),
            when="ARGUMENTS(tcp_retransmit_skb) < 3 || !(s32){args[2]}",  # kernels that tell of failures send nothing then
        ),
        Event(  # of a connection that comes in, which has no socket yet: this is the listener's
            "tcp_retransmit_synack",
            "tcp_retransmit_synack",
            (WHO, SOCKET, *addresses("args[1]->request_sock.__req_common")),
            optional=True,
        ),
        Event("tcp_send_reset", "tcp_send_reset", (WHO, SOCKET)),
        Event("tcp_receive_reset", "tcp_receive_reset", (WHO, SOCKET)),
        Event(  # since 6.3
            "tcp_data_ready",
            "sk_data_ready",
            (WHO, SOCKET, *ADDRESSES),
            when=f"{IS_TCP} && {IS_FROM_OUTSIDE} && {SOMEBODY_WAITS}",
            optional=True,
            nests=True,
        ),
        Event("tcp_destroy", "tcp_destroy_sock", (WHO, SOCKET), forgets="socket"),
    ),
)
