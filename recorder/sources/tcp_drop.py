"""TCP packets that the kernel dropped, with its reason and the stack: what was lost here, and not on the way."""

from offwake.recorder.sockets import WHO
from offwake.recorder.sources import Event, Field, Source, text_of

SOURCE = Source(
    name="tcp-drop",
    summary="TCP packets that the kernel dropped, why and where: tcp-drops table and flame graph",
    needs=("tcp",),
    enums=("skb_drop_reason",),
    program=text_of("tcp_drop.bpf.c"),
    events=(
        Event(
            "tcp_drop",
            "kfree_skb",
            (
                WHO,
                Field("socket", "u8"),
                Field("reason", "u4"),
                Field("length", "u4"),
                Field("source", "V16", is_address=True),
                Field("destination", "V16", is_address=True),
                Field("family", "u2"),
                Field("source_port_be", "u2"),
                Field("destination_port_be", "u2"),
                Field("state", "u1"),
                Field("tcp_flags", "u1"),
            ),
            with_stack=True,
        ),
    ),
)
