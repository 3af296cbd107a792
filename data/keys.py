"""Rows told apart by several columns at once: a whole number a row, which is compared and sorted where text is not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

# pyarrow makes its compute functions at import, so type checkers do not know them.
pc: Any = pyarrow.compute


def row_keys(table: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """Return a code [N] a row, int64; equal exactly where all the columns are, nulls being equal to each other.

    >>> row_keys(pa.table({"a": ["x", "y", "x", None], "b": [1, 1, 1, 1]}), ["a", "b"]).tolist()
    [0, 1, 0, 2]
    """
    return combine(*(_codes(table[name]) for name in columns))


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, int]:
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    # Chunks of one column share their dictionary.
    parts = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    codes = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    return codes, len(encoded.chunks[-1].dictionary) if parts else 1


def combine(*codes: tuple[np.ndarray, int]) -> np.ndarray:
    """Return one code [N] of several, each given with the number of its values; equal exactly where all of them are."""
    key, size = codes[0][0].astype(np.int64), codes[0][1]
    for further, count in codes[1:]:
        if size * count >= 1 << 62:
            found, key = np.unique(key, return_inverse=True)
            size = len(found)
        key, size = key * count + further, size * max(count, 1)
    return key


def occurrence(key: np.ndarray) -> np.ndarray:
    """Return how many equal keys stand before each, [N]: 0 for a first, 1 for a second one.

    >>> occurrence(np.array([7, 3, 7, 7])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    place = np.arange(len(key))
    first = np.ones(len(key), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    found = np.empty(len(key), dtype=np.int64)
    found[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    return found
