"""zstd: payloads to frames and back, with every bound checked before memory is taken.

The only module that imports zstandard.
"""

import threading

import zstandard

__all__ = ["Compressor", "decompress"]

Buffer = bytes | bytearray | memoryview

LEVEL = 1  # what higher ones save of events is not worth their time


class Compressor:
    """Makes zstd frames that state their length and carry a checksum. Not thread-safe: use one a thread."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True)

    def compress(self, payload: Buffer) -> bytes:
        """Return `payload` as one zstd frame."""
        return self._zstd.compress(payload)


class _Decompressor(threading.local):
    """One decompressor a thread: making one takes longer than most frames, and none may be shared."""

    def __init__(self) -> None:
        self.zstd = zstandard.ZstdDecompressor()


_decompressor = _Decompressor()


def decompress(frame: Buffer, raw_length: int, limit: int) -> bytes:
    """Return the `raw_length` bytes that one zstd frame holds.

    Raises ValueError unless the frame is exactly one whole frame that states and holds `raw_length` bytes, at most
    `limit`, and whose content has the checksum that it carries.
    """
    if raw_length > limit:
        raise ValueError(f"states {raw_length} bytes, more than the {limit} allowed")
    try:
        parameters = zstandard.get_frame_parameters(frame)
        if parameters.content_size != raw_length or not parameters.has_checksum:
            raise ValueError("the zstd frame does not state the header's length, or has no checksum")
        # The output is one buffer of the stated size, checked above: zstandard ignores max_output_size for such frames.
        return _decompressor.zstd.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(f"the zstd frame cannot be read: {error}") from error
