"""How long packets take inside the kernel: from the driver to TCP and to the reader, from the sender to the queue, to the
driver and out.

Nothing is sent where a packet comes in or is queued: its time is noted by the packet, and taken back at the next step. When
a packet's memory is used anew, it begins at one of the two. What is given to send is no packet yet: its time is noted by
the place that its first byte has in the stream, at which a packet begins later.
"""

from offwake.recorder.sockets import WHO, addresses, socket_is_tcp
from offwake.recorder.sources import Event, Field, Source

PACKET = Field("packet", "u8", "args[0]")
OF_PACKET = "args[0]->sk_buff.sk"
ITS_SOCKET = Field("socket", "u8", OF_PACKET)
IS_TCP = socket_is_tcp(OF_PACKET)
ADDRESSES = addresses(OF_PACKET + ".__sk_common")
IS_IP = (
    "{args[0]->sk_buff.protocol} == 8 || {args[0]->sk_buff.protocol} == 0xdd86"  # ETH_P_IP and ETH_P_IPV6, big-endian
)


# The first time that bytes are sent the next one to be sent is the packet's own; a packet without any has no fragments.
IS_SENT_FIRST = (
    "{args[0]->sk_buff.data_len} && {args[0]->sk_buff.sk(tcp_sock).snd_nxt} =="
    " __builtin_bswap32(read_u32({args[0]->sk_buff.head} + {args[0]->sk_buff.transport_header} + 4))"
)


def place(socket: str, byte: str) -> Field:
    """Return a field that holds a byte of a socket's stream, as one number."""
    return Field("place", "u8", f"{{{socket}}} ^ {{{socket}{byte}}} << 32")


def since(event: str) -> Field:
    return Field("latency_ns", "u8", f"since {event}")


SOURCE = Source(
    name="net-stack",
    summary="how long TCP packets take in the kernel: driver to TCP to reader, sender to queue to driver to wire",
    needs=("tcp",),
    events=(
        Event("net_received", "netif_receive_skb", (PACKET,), when=IS_IP, notes="packet", forgets="packet", sent=False),
        Event(
            "net_to_tcp",
            "tcp_probe",
            (
                Field("packet", "u8", "args[1]"),
                Field("socket", "u8", "args[0]"),
                since("net_received"),
                *addresses("args[0]->sock.__sk_common"),
            ),
            notes="packet",
            nests=True,
        ),
        Event(  # the first copy of a packet's bytes, if it lies in its own socket's queue: others were merged into one there
            "net_to_reader",
            "skb_copy_datagram_iovec",
            (WHO, PACKET, ITS_SOCKET, since("net_to_tcp"), *ADDRESSES),
            when=IS_TCP,
        ),
        Event(  # since 6.16
            "net_sent",
            "tcp_sendmsg_locked",
            (place("args[0]", "->tcp_sock.write_seq"),),
            notes="place",
            sent=False,
            optional=True,
        ),
        Event(
            "net_to_queue",
            "net_dev_queue",
            (ITS_SOCKET, place(OF_PACKET, "(tcp_sock).snd_nxt"), since("net_sent"), *ADDRESSES),
            when=f"{IS_TCP} && {IS_SENT_FIRST}",
            optional=True,
        ),
        Event("net_queued", "net_dev_queue", (PACKET,), when=IS_TCP, notes="packet", forgets="packet", sent=False),
        Event(
            "net_to_driver",
            "net_dev_start_xmit",
            (PACKET, ITS_SOCKET, since("net_queued"), *ADDRESSES),
            when=IS_TCP,
            notes="packet",
        ),
        Event("net_to_wire", "net_dev_xmit", (PACKET, since("net_to_driver"))),
    ),
)
