"""msgpack: the values of every payload that is no ring span, with lengths, counts and nesting bounded.

The only module that imports msgpack. Strings that come from the kernel may be any bytes: what is not UTF-8 travels as
surrogate escapes, as in the rest of Python, and comes back as the bytes it was.
"""

from typing import Any

import msgpack

__all__ = ["pack", "unpack"]

_MAX_LENGTH = 1 << 20
_MAX_CONTAINERS = 1 << 20


def pack(value: Any) -> bytes:
    """Return `value`, made of None, bool, int, float, str, bytes, list and dict, as msgpack."""
    packed: bytes = msgpack.packb(value, use_bin_type=True, unicode_errors="surrogateescape")
    return packed


def unpack(data: bytes) -> Any:
    """Return the one value that `data` holds.

    Raises ValueError when the value is truncated, when bytes follow it, or when it is out of bounds: more than a
    million elements in a container, more than a million containers, nested deeper than msgpack's own stack (some
    hundred), or an extension type. An empty list takes 64 times the byte that states it, which is why they are counted.
    """
    containers = 0

    def count(container: Any) -> Any:
        nonlocal containers
        containers += 1
        if containers > _MAX_CONTAINERS:
            raise ValueError(f"more than {_MAX_CONTAINERS} lists and maps")
        return container

    try:
        return msgpack.unpackb(
            data,
            raw=False,
            unicode_errors="surrogateescape",
            strict_map_key=False,
            list_hook=count,
            object_hook=count,
            max_array_len=min(len(data), _MAX_LENGTH),
            max_map_len=min(len(data), _MAX_LENGTH),
            max_str_len=len(data),
            max_bin_len=len(data),
            max_ext_len=0,
        )
    except (ValueError, TypeError, MemoryError) as error:  # TypeError: a list as a map's key
        raise ValueError(f"the msgpack value cannot be read: {error or type(error).__name__}") from error
