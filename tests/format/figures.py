"""Print the measured figures of docs/format.md: `python -m tests.format.figures FILE`, of a large recording."""

import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import zstandard

from offwake.format.codec import Compressor
from offwake.format.layout import HEADER_SIZE, Kind
from offwake.format.reader import TraceReader


def seconds(work: Callable[[], object]) -> float:
    """Return the least time of five runs."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def wrong_without_checksum(payload: bytes) -> tuple[int, int]:
    """Return how many flips of one bit of a frame without checksum give other bytes, and how many flips there are."""
    frame = zstandard.ZstdCompressor(level=1).compress(payload)
    wrong = 0
    for bit in range(8 * len(frame)):
        broken = bytearray(frame)
        broken[bit // 8] ^= 1 << bit % 8
        try:
            wrong += zstandard.ZstdDecompressor().decompress(broken, max_output_size=len(payload)) != payload
        except zstandard.ZstdError:
            pass
    return wrong, 8 * len(frame)


def ratio(data: bytes, step: int) -> float:
    """Return how many times smaller `data` gets in blocks of `step` bytes, headers included."""
    compressor = Compressor()
    parts = [data[at : at + step] for at in range(0, len(data), step)]
    return len(data) / sum(HEADER_SIZE + len(compressor.compress(part)) for part in parts)


def main() -> None:
    """Print all figures."""
    path = Path(sys.argv[1])
    with TraceReader.open(path) as reader:
        spans = [reader.payload(header) or b"" for header in reader.blocks if header.kind == Kind.EVENTS]
        blocks = len(reader.blocks)
    data = b"".join(spans)
    print(f"{blocks} blocks, {path.stat().st_size} bytes; EVENTS spans of {len(data)} bytes")
    for step in (64 << 10, 256 << 10, 1 << 20, 4 << 20):
        print(f"ratio of EVENTS in blocks of {step >> 10} KiB: {ratio(data, step):.1f}")
    wrong, flips = wrong_without_checksum(data[: 64 << 10])
    print(f"no checksum: {wrong} of {flips} flipped bits give wrong bytes")
    print(f"CRC-32: {len(data) / seconds(lambda: zlib.crc32(data)) / 1e9:.1f} GB/s")
    print(f"opening: {seconds(lambda: TraceReader.open(path).close()) / blocks * 1e6:.1f} us a block")


if __name__ == "__main__":
    main()
