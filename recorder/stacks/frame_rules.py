"""What the BPF programs know of return addresses: rules in a hash table of fixed size, which this keeps a copy of.

A rule stands in one of a few places, its bucket's, so that a program finds it with one look. What finds all of them taken is
not known.
"""

from struct import Struct

__all__ = ["FrameRules"]

HASH_FACTOR, BUCKET_BITS, WAYS = 0x9E3779B97F4A7C15, 15, 4  # as in stacks.bpf.c
BUCKET = Struct(f"<{2 * WAYS}Q")


class FrameRules:
    """The rules of one table. Rule 0 is none."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[int, int]] = {}

    def put(self, key: int, rule: int) -> tuple[int, bytes]:
        """Set or forget a key's rule; returns the number of its bucket, and what is to stand there."""
        number = (key * HASH_FACTOR & (1 << 64) - 1) >> 64 - BUCKET_BITS
        bucket = self._buckets.setdefault(number, {})
        if not rule:
            bucket.pop(key, None)
        elif key in bucket or len(bucket) < WAYS:
            bucket[key] = rule
        if not bucket:
            del self._buckets[number]
        free = [0] * (WAYS - len(bucket))
        return number, BUCKET.pack(*bucket, *free, *bucket.values(), *free)
