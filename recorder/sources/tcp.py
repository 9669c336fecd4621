"""TCP sessions: state changes, the process behind a socket, retransmits and resets.

The current thread says who owns a socket only at SYN_SENT and at the first send or receive: at accept time and at CLOSE
it is a stranger (on loopback, the peer). Data that become ready for somebody who waits are recorded where the network's
interrupt, or on loopback the sender, is about to wake: so a waking can be joined to what arrived.
"""

from offwake.recorder.sockets import ADDRESSES, IS_TCP, SOCKET, WHO, addresses
from offwake.recorder.sources import Event, Field, Source

STATE = Field("state", "u1", "args[0]->sock.__sk_common.skc_state")
# An empty list of waiters points to its own head, which lies in the queue.
SOMEBODY_WAITS = "{args[0]->sock.sk_wq.wait.head.next} - {args[0]->sock.sk_wq} > 256"
FIRST_TRANSFER = (WHO, SOCKET, Field("length", "i8", "args[1]"), *ADDRESSES)

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
        # These two since 6.3. Without them the owner of a connection that comes in is known when it is closed.
        Event("tcp_first_send", "sock_send_length", FIRST_TRANSFER, when=IS_TCP, once_per="socket", optional=True),
        Event("tcp_first_receive", "sock_recv_length", FIRST_TRANSFER, when=IS_TCP, once_per="socket", optional=True),
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
        Event(  # since 6.3; 25,000 calls a second of 0.6 µs each at 12 Gb/s over loopback
            "tcp_data_ready",
            "sk_data_ready",
            (WHO, SOCKET, *ADDRESSES),
            when=f"{IS_TCP} && {SOMEBODY_WAITS}",
            optional=True,
            nests=True,
        ),
        Event("tcp_destroy", "tcp_destroy_sock", (WHO, SOCKET), forgets="socket"),
    ),
)
