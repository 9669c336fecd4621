"""Bytes that went through TCP sockets, call by call: who sent and received how much, and when.

What no call carries is not here: sendfile and splice go past these tracepoints on the way in.
"""

from offwake.recorder.sockets import IS_TCP, SOCKET, WHO
from offwake.recorder.sources import Event, Field, Source

LENGTH = Field("length", "u4", "args[1]")
MSG_PEEK = 2
MOVED = f"(s32)ctx->args[1] > 0 && !(ctx->args[2] & {MSG_PEEK}) && {IS_TCP}"

SOURCE = Source(
    name="tcp-bytes",
    summary="every send and receive on TCP sockets: bytes by process and connection over time",
    needs=("tcp",),
    events=(
        Event("tcp_send", "sock_send_length", (WHO, SOCKET, LENGTH), when=MOVED),
        Event("tcp_receive", "sock_recv_length", (WHO, SOCKET, LENGTH), when=MOVED),
    ),
)
