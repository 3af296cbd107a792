"""Figures from sums by speaker: for columns too many to be kept for every utterance, and for tests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...data.scores.intervals import NO_LIMITS, Interval, OfTotals, by_group, group_sums
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
