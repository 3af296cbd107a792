"""Label smoothing undone: from released shares of raters to the whole numbers of votes that give them."""

import re
from typing import NamedTuple

import numpy as np

# EMO-SUPERB's: the weight that each label receives is SMOOTHING / (K - 1), and q = p (1 - K e) + e.
SMOOTHING = 0.05
# More raters than any released utterance has.
MOST = 100
# What adding and dividing in double precision can lose, with room.
ROUNDING = 1e-9


class WholeVotes(NamedTuple):
    """Votes by row and label [U, K], the denominators [U] (0 where none gives the row), and how they were found."""

    counts: np.ndarray
    denominators: np.ndarray
    tolerance: float
    most: int


def precision(text: str) -> int:
    """How many decimals a number's text has.

    >>> precision("0.8125"), precision("1e-05"), precision("1.5e-3"), precision("1")
    (4, 5, 4, 0)
    """
    found = re.fullmatch(r"\s*[-+]?\d*\.?(\d*)(?:[eE]([-+]?\d{1,3}))?\s*", text)
    return max(0, len(found[1] if "." in text else "") - int(found[2] or 0)) if found else 0


def whole_votes(shares: np.ndarray, decimals: int) -> WholeVotes:
    """Find the fewest votes that give each row of smoothed shares [U, K], K at least 2.

    A row is given by d votes, n of them for a label, if |n/d (1 - K e) + e - q| is at most half a unit of the file's
    last decimal (or `ROUNDING`) for every label, and the n sum to d at most: what is lacking was said of no label.
    Denominators reach as far as two different shares of them still lie more than two tolerances apart. Rows with NaN
    have none.
    """
    labels = shares.shape[1]
    least = SMOOTHING / (labels - 1)
    scale = 1 - labels * least
    tolerance = max(0.5 * 10.0**-decimals, ROUNDING) + 1e-12
    most = int(min(MOST, np.sqrt(scale / (2 * tolerance))))
    counts = np.zeros(shares.shape, dtype=np.int64)
    denominators = np.zeros(len(shares), dtype=np.int64)
    open_rows = np.flatnonzero(np.isfinite(shares).all(axis=1) & (np.abs(shares) <= 2).all(axis=1))
    for d in range(1, most + 1):
        q = shares[open_rows]
        n = np.rint((q - least) / scale * d).astype(np.int64)
        fits = (np.abs(n / d * scale + least - q) <= tolerance).all(axis=1)
        fits &= (n >= 0).all(axis=1) & (n.sum(axis=1) <= d)
        counts[open_rows[fits]], denominators[open_rows[fits]] = n[fits], d
        open_rows = open_rows[~fits]
    return WholeVotes(counts, denominators, tolerance, most)
