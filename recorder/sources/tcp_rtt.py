"""Round-trip times, windows and buffers of TCP connections.

The kernel's own estimate, at most a hundred times a second for a connection: it is smoothed over eight round trips anyway.
"""

from offwake.recorder.sockets import ADDRESSES, IS_TCP, SOCKET, WHO
from offwake.recorder.sources import Event, Field, Source

EVERY_NS = 10_000_000
RECEIVING = (
    Field("rcv_space", "u4", "args[0]->tcp_sock.rcvq_space.space"),
    Field("rcv_buffer", "u4", "args[0]->sock.sk_rcvbuf"),
    Field("rcv_queued", "u4", "args[0]->sock.sk_backlog.rmem_alloc"),
)

SOURCE = Source(
    name="tcp-rtt",
    summary="round-trip times, windows and buffers of TCP connections, each at most 100 times a second",
    needs=("tcp",),
    events=(
        Event(
            "tcp_rtt",
            "tcp_probe",
            (
                SOCKET,
                Field("srtt_8us", "u4", "args[0]->tcp_sock.srtt_us"),  # in eighths of a microsecond
                Field("snd_cwnd", "u4", "args[0]->tcp_sock.snd_cwnd"),
                Field("ssthresh", "u4", "args[0]->tcp_sock.snd_ssthresh"),
                Field("snd_wnd", "u4", "args[0]->tcp_sock.snd_wnd"),
                Field("rcv_wnd", "u4", "args[0]->tcp_sock.rcv_wnd"),
                *RECEIVING,
                *ADDRESSES,
            ),
            once_per="socket",
            again_after_ns=EVERY_NS,
            nests=True,
        ),
        Event(  # when a reader has taken a window's worth, the kernel may give it more room
            "tcp_rcv_space",
            "tcp_rcv_space_adjust",
            (WHO, SOCKET, *RECEIVING, *ADDRESSES),
            once_per="socket",
            again_after_ns=EVERY_NS,
            optional=True,
        ),
        Event("tcp_rtt_ends", "tcp_destroy_sock", (SOCKET,), forgets="socket", sent=False),
        Event("buffer_limit", "sock_exceed_buf_limit", (WHO, SOCKET, *ADDRESSES), when=IS_TCP, optional=True),
    ),
)
