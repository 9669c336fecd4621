"""Texts of tracepoints: they lie behind a record's fields, of which one says where (`__data_loc`): offset | length << 16."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from offwake.analyzer.compiled import compiled

__all__ = ["with_strings"]

LONGEST = 128


def with_strings(
    rows: NDArray[Any], octets: NDArray[np.uint8], begins: NDArray[np.int64], strings: tuple[str, ...]
) -> NDArray[Any]:
    """Return rows with the texts (S128; what is longer is cut) in place of where they lie. `begins` is where each record's
    fields begin in `octets`; what lies outside of them is no text."""
    kept = {name: rows.dtype[name] for name in rows.dtype.names or ()}
    types = [(name, f"S{LONGEST}" if name in strings else kind) for name, kind in kept.items()]
    found = np.zeros(len(rows), types)
    for name in kept:
        if name in strings:
            texts = np.zeros((len(rows), LONGEST), np.uint8)
            _copy(octets, begins, rows[name].astype(np.int64), texts)
            found[name] = texts.reshape(-1).view(f"S{LONGEST}")
        else:
            found[name] = rows[name]
    return found


@compiled
def _copy(
    octets: NDArray[np.uint8], begins: NDArray[np.int64], places: NDArray[np.int64], texts: NDArray[np.uint8]
) -> None:
    for row in range(len(begins)):
        begin, length = begins[row] + (places[row] & 0xFFFF), places[row] >> 16
        for at in range(min(length, texts.shape[1], len(octets) - begin)):
            if octets[begin + at] == 0:
                break
            texts[row, at] = octets[begin + at]
