"""The delete-one-speaker jackknife, for what a bootstrap misleads on, for tests, and for parts of unequal size."""

from __future__ import annotations

import numpy as np
from scipy import stats

from .scores.intervals import Interval, OfTotals


def jackknife_of(
    totals: np.ndarray, statistic: OfTotals, level: float, *, strata: np.ndarray | None = None
) -> tuple[Interval, float]:
    """The delete-one-speaker jackknife of a statistic of sums [G, S] at any number of speakers, and its p against 0.

    error^2 = (G - 1) / G sum_g (theta_g - mean theta)^2, value +- t(df) error, two-sided p from t(df): bounds and p
    tell the same. For what a bootstrap misleads on (absolute values near 0, which resampling only makes larger) and
    for tests. df = G - 1, or with `strata` (int [G]) Satterthwaite's over them: of 91 speakers of whom 3 are in a part,
    the 3 decide. NaN, with the reason in `method`, where undefined with all speakers or without one of them.
    """
    rows = totals.any(axis=1)
    there = totals[rows]
    size = len(there)

    def undefined(value: float, reason: str) -> tuple[Interval, float]:
        return Interval(value, np.nan, np.nan, f"none: {reason}", size), np.nan

    if not size:
        return undefined(np.nan, "no rows")
    with np.errstate(invalid="ignore", divide="ignore"):
        total = there.sum(axis=0)
        value, without = float(statistic(total)), np.asarray(statistic(total - there))
    if not np.isfinite(value):
        return undefined(value, "undefined")
    if size < 2:
        return undefined(value, "one group")
    if not np.isfinite(without).all():
        return undefined(value, "undefined without one of the groups")
    squares = (size - 1) / size * (without - without.mean()) ** 2
    error, df = float(np.sqrt(squares.sum())), float(size - 1)
    if strata is not None and error > 0:
        _, of = np.unique(strata[rows], return_inverse=True)
        parts = np.bincount(of, weights=squares)
        df = float(parts.sum() ** 2 / (parts**2 / np.maximum(np.bincount(of) - 1, 1)).sum())
    half = float(stats.t.ppf(0.5 + level / 2, df)) * error
    p = 2 * float(stats.t.sf(abs(value) / error, df)) if error > 0 else float(value == 0)
    return Interval(value, value - half, value + half, "jackknife-t", size), p
