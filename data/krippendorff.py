"""Krippendorff's alpha for labels, ordered steps and ratings, as a function of sums over utterances.

Counts are votes an utterance and label, [U, K]; utterances with fewer than two votes hold no pair and say nothing about
agreement. So alpha over a resample of speakers needs the speakers' sums alone (`alpha_rows` and `alpha_of`, and so on).
"""

import numpy as np
from numpy.typing import ArrayLike

from .errors import OptionError


def krippendorff_alpha(counts: ArrayLike) -> float:
    """Krippendorff's alpha for nominal data, 1 - D_o / D_e, over utterances i with n_i >= 2 votes.

    D_o = sum_i (n_i^2 - sum_c n_ic^2) / (n_i - 1), D_e = (N^2 - sum_c N_c^2) / (N - 1), N_c and N summed over the same
    utterances (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", C). NaN where no utterance has two
    votes, and where all votes are one label: nothing could disagree then.

    >>> krippendorff_alpha([[2, 0], [1, 1], [0, 2]])  # D_o = 2, D_e = (36 - 18) / 5
    0.4444444444444444
    """
    return float(alpha_of(alpha_rows(counts).sum(axis=0)))


def interval_alpha(values: ArrayLike, items: ArrayLike) -> float:
    """Krippendorff's alpha for ratings on an interval scale; `values` [N] of utterances `items` (int [N]).

    The squared difference takes the place of "differs": D_o = sum_i 2 (n_i sum v^2 - (sum v)^2) / (n_i - 1), D_e the
    same over all values of utterances with two or more (Krippendorff 2011, E). NaN ratings are skipped; NaN without
    pairs, or if all ratings are one value.
    """
    return float(interval_of(interval_rows(values, items).sum(axis=0)))


def ordinal_alpha(counts: ArrayLike) -> float:
    """Krippendorff's alpha for ratings on an ordinal scale; `counts` [U, L] of L steps in ascending order.

    The squared difference of mid-ranks takes the place of "differs", ranks being those of all values of utterances
    with two or more: delta(c, k) = (sum_{g=c..k} N_g - (N_c + N_k) / 2)^2 (Krippendorff 2011, E). NaN without pairs,
    or if all ratings are one step.
    """
    counts = whole_counts(counts)
    return float(ordinal_of(coincidences(counts, np.zeros(len(counts), dtype=int), 1)[0]))


def alpha_rows(counts: ArrayLike) -> np.ndarray:
    """Columns [U, 1 + K] whose totals `alpha_of` takes: disagreement within, and the counts that can be paired."""
    counts = whole_counts(counts)
    n = counts.sum(axis=1)
    within = np.divide(n**2 - (counts**2).sum(axis=1), n - 1, out=np.zeros(len(n)), where=n > 1)
    return np.column_stack([within, np.where(n[:, None] > 1, counts, 0.0)])


def alpha_of(totals: np.ndarray) -> np.ndarray:
    """Nominal alpha from summed `alpha_rows` [..., 1 + K]."""
    totals = np.asarray(totals, dtype=np.float64)
    labels = totals[..., 1:]
    n = labels.sum(axis=-1)
    return one_minus(totals[..., 0], (n**2 - (labels**2).sum(axis=-1)) / np.where(n > 1, n - 1, np.nan))


def one_minus(observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return 1 - observed / expected, NaN where nothing is expected."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0, 1 - observed / expected, np.nan)


def interval_rows(values: ArrayLike, items: ArrayLike, *, size: int | None = None) -> np.ndarray:
    """Columns [U, 4] whose totals `interval_of` takes: disagreement within, and n, sum and sum of squares of the values
    that can be paired. Values are shifted by their mean first, which changes no alpha and keeps the sums accurate.
    """
    rated, of = np.asarray(values, dtype=np.float64), np.asarray(items, dtype=np.int64)
    size = size if size is not None else int(of.max(initial=-1)) + 1
    of, rated = of[np.isfinite(rated)], rated[np.isfinite(rated)]
    rated = rated - (rated.mean() if len(rated) else 0.0)
    n, total, squares = (np.bincount(of, weights=w, minlength=size) for w in (np.ones(len(of)), rated, rated**2))
    within = np.divide(2 * (n * squares - total**2), n - 1, out=np.zeros(size), where=n > 1)
    return np.column_stack([within, *(np.where(n > 1, column, 0.0) for column in (n, total, squares))])


def interval_of(totals: np.ndarray) -> np.ndarray:
    """Interval alpha from summed `interval_rows` [..., 4]."""
    within, n, total, squares = np.moveaxis(np.asarray(totals, dtype=np.float64), -1, 0)
    spread = 2 * (n * squares - total**2) / np.where(n > 1, n - 1, np.nan)
    # rounding leaves about 1e-16 of the squares where all values are one
    return one_minus(within, np.where(spread > 1e-12 * squares, spread, 0.0))


def coincidences(counts: ArrayLike, codes: np.ndarray, size: int) -> np.ndarray:
    """Krippendorff's coincidences by group, [G, L * L]: o_ck = sum_i n_ic (n_ik - [c = k]) / (n_i - 1)."""
    counts = whole_counts(counts)
    steps, n = counts.shape[1], counts.sum(axis=1)
    weight = np.divide(1.0, n - 1, out=np.zeros(len(n)), where=n > 1)
    out = np.zeros((size, steps, steps))
    for c in range(steps):
        for k in range(c, steps):
            pairs = counts[:, c] * (counts[:, k] - (c == k)) * weight
            out[:, c, k] = out[:, k, c] = np.bincount(codes, weights=pairs, minlength=size)
    return out.reshape(size, -1)


def ordinal_of(totals: np.ndarray) -> np.ndarray:
    """Ordinal alpha from summed `coincidences` [..., L * L]."""
    totals = np.asarray(totals, dtype=np.float64)
    steps = round(totals.shape[-1] ** 0.5)
    table = totals.reshape(*totals.shape[:-1], steps, steps)
    by_step = table.sum(axis=-1)
    n = by_step.sum(axis=-1)
    rank = by_step.cumsum(axis=-1) - by_step / 2
    observed = (table * (rank[..., :, None] - rank[..., None, :]) ** 2).sum(axis=(-2, -1))
    mean = np.divide((by_step * rank).sum(axis=-1), n, out=np.zeros(n.shape), where=n > 0)
    spread = (by_step * (rank - mean[..., None]) ** 2).sum(axis=-1)
    several = (by_step > 1e-9).sum(axis=-1) > 1
    return one_minus(observed, np.where(several, 2 * n * spread / np.where(n > 1, n - 1, np.nan), np.nan))


def whole_counts(counts: ArrayLike) -> np.ndarray:
    """Return counts as float64 [U, K]; OptionError where they are no whole numbers of votes."""
    counts = np.asarray(counts, dtype=np.float64)
    if not np.array_equal(counts, np.rint(counts)) or (counts < 0).any():
        raise OptionError("agreement is between votes: expected whole counts of 0 or more, found others")
    return counts
