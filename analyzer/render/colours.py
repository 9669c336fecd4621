"""Colours: the families that users of flame graphs know, and within a family a shade by the frame's name."""

import zlib
from enum import Enum, auto
from functools import lru_cache

__all__ = ["MATCH", "Family", "frame_colour", "heat_colour"]

MATCH = "rgb(230,0,230)"
KERNEL_SUFFIX = "_[k]"
_GREY = (160, 160, 160)
_ORANGE, _RED = (0xFF, 0x50, 0x32), (0xE5, 0x09, 0x14)


class Family(Enum):
    """What a stack is of: red on the CPU, blue off it, aqua a waker's. COLD is OFF_CPU beside ON_CPU in one picture."""

    ON_CPU = auto()
    OFF_CPU = auto()
    WAKER = auto()
    COLD = auto()


@lru_cache(maxsize=20_000)
def frame_colour(name: str, family: Family) -> str:
    """Return a frame's colour as `#rrggbb`: kernel code orange, except where that would look hot; else the family's.

    The formulas are flamegraph.pl's palettes; v comes from the name's CRC-32, so a name has one shade in all pictures.
    """
    if name == "--":
        return _hex(_GREY)
    hashed = zlib.crc32(name.encode())
    v, w = (hashed & 0xFFFF) / 0xFFFF, (hashed >> 16) / 0xFFFF
    if name.endswith(KERNEL_SUFFIX) and family is not Family.COLD:
        return _hex((190 + 65 * v, 90 + 65 * v, 0))
    if family is Family.ON_CPU:
        return _hex((205 + 50 * w, 230 * v, 55 * w))
    if family is Family.WAKER:
        return _hex((50 + 60 * v, 165 + 55 * v, 165 + 55 * v))
    return _hex((80 + 60 * v, 80 + 60 * v, 190 + 55 * v))


def heat_colour(share: float) -> tuple[str, float]:
    """Return colour and opacity on the scale white → #FF5032 → #E50914, for a share 0..1 on that scale.

    The first half is #FF5032 laid more and more thickly on the paper, which is white unless the reader's theme is dark.
    """
    if share <= 0.5:
        return _hex(_ORANGE), round(2 * share, 3)
    more = 2 * share - 1
    return _hex(tuple(low + (high - low) * more for low, high in zip(_ORANGE, _RED, strict=True))), 1.0


def _hex(rgb: tuple[float, ...]) -> str:
    return "#" + "".join(f"{int(channel):02x}" for channel in rgb)
