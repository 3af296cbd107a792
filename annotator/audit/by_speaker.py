"""Figures from sums by speaker: for columns too many to be kept for every utterance, and for tests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from ...data.bootstrap import NO_LIMITS, Interval, OfTotals, by_group, group_sums
from .scorer import Scorer


class Speakers(NamedTuple):
    """The speaker of each of a scorer's rows, int [R * U], and the number of speakers."""

    codes: np.ndarray
    size: int

    def sums(self, columns: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
        """Sums by speaker, [G, S], of columns [R * U, S], over the rows kept (bool [R * U])."""
        if kept is None or kept.all():
            return group_sums(columns, self.codes, self.size)
        return group_sums(columns[kept], self.codes[kept], self.size)


def speakers_of(scorer: Scorer) -> Speakers:
    """The speakers of a scorer's rows, the draws one after another."""
    return Speakers(scorer.codes, scorer.groups)


def interval_of(
    totals: np.ndarray,
    statistic: OfTotals,
    scorer: Scorer,
    *,
    rows: int,
    skipped: int = 0,
    limits: tuple[float, float] = NO_LIMITS,
) -> Interval:
    """A statistic of sums by speaker [G, S], with its interval; speakers whose sums are all 0 are no witnesses.

    `rows` and `skipped` count all draws' rows; the interval tells those of one draw. `limits` are `by_group`'s.
    """
    there = totals.any(axis=1)
    each = len(scorer.draws)
    counts = {"rows": round(rows / each), "skipped": round(skipped / each)}
    if not there.any():
        return Interval(np.nan, np.nan, np.nan, "none: no rows", 0, **counts)
    found = by_group(
        totals[there],
        np.flatnonzero(there),
        statistic=statistic,
        level=scorer.level,
        limits=limits,
        seed=scorer.reference.seed,
    )
    return found._replace(**counts)


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


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p [N] (1979): in ascending order, the running maximum of (N - i + 1) p_i, at most 1.

    Valid however the tests depend on each other. NaN (no test) stays NaN and counts for nothing.

    >>> holm(np.array([0.04, 0.01, np.nan, 0.03]))
    array([0.06, 0.03,  nan, 0.06])
    """
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    found = np.full(len(p), np.nan)
    found[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return found
