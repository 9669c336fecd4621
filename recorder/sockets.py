"""What declarations of network sources share: a socket, whose it is, and its addresses."""

from offwake.recorder.sources import Field

__all__ = ["ADDRESSES", "IS_TCP", "SOCKET", "WHO", "addresses", "socket_is_tcp"]

SOCKET = Field("socket", "u8", "args[0]")
WHO = Field("tid", "u4", "tid")


def addresses(common: str) -> tuple[Field, ...]:
    """Return the fields of a connection's two ends; `common` is the way to its `sock_common`."""
    return (
        Field("local4", "u4", f"{common}.skc_rcv_saddr", is_address=True),
        Field("remote4", "u4", f"{common}.skc_daddr", is_address=True),
        Field("local6", "V16", f"{common}.skc_v6_rcv_saddr", is_address=True),
        Field("remote6", "V16", f"{common}.skc_v6_daddr", is_address=True),
        Field("family", "u2", f"{common}.skc_family"),
        Field("local_port", "u2", f"{common}.skc_num"),
        Field("remote_port_be", "u2", f"{common}.skc_dport"),
    )


def socket_is_tcp(socket: str) -> str:
    """Return the condition that a socket is one of TCP; `socket` is the way to it.

    Other families have a protocol 6 too, as netlink has (NETLINK_XFRM), and so have raw sockets: these are no streams.
    """
    return f"{{{socket}.sk_protocol}} == 6 && {{{socket}.sk_type}} == 1"


ADDRESSES = addresses("args[0]->sock.__sk_common")
IS_TCP = socket_is_tcp("args[0]->sock")
