"""Scores and intervals on one reference: every figure of an audit is made here, over the same speakers.

The reference comes in R draws of the scored votes. Arrays here hold the draws one after another, [R * U], and every
figure is a function of their totals by speaker: the mean over the draws, with the interval of that mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from ...data.scores.divergences import as_distribution
from ...data.scores.folds import group_codes
from ...data.scores.intervals import NO_LIMITS, Interval, OfTotals, by_group, group_sums
from ...data.scores.metrics import group_confusion, reference_classes
from ...data.scores.proper_scores import log_score
from ...data.scores.scoring import ScoreRow, confusion_statistics, limits_of, row_scores, score_row
from .reference import Reference

# A constant of so small a mean squared error leaves nothing to close: half a vote added to each of six labels of people
# who all say the same is off by as much with a hundred votes. Corpora of speech have .1 to .3.
NO_GAP = 1e-3
# A percent of the gap may fall as low as a panel is bad, and rises to 100.
MOST_GAP = (-np.inf, 100.0)


class Scorer:
    """Scores distributions on every draw of one reference, with intervals at one level.

    `codes` [R * U] are the rows' speakers, of whom there are `groups`.
    """

    def __init__(self, draws: Sequence[Reference], *, level: float):
        self.draws, self.reference, self.level = list(draws), draws[0], level
        self.scored = self.each(lambda draw: draw.scored)
        self._classes = reference_classes(self.scored)
        self.ids = self.reference.ids * len(self.draws)
        codes, self.groups = group_codes(self.reference.groups)
        self.codes = np.tile(codes, len(self.draws))

    def each(self, make: Callable[[Reference], np.ndarray]) -> np.ndarray:
        """`make(draw)` of every draw, one after another: [R * U, ...]."""
        return np.concatenate([make(draw) for draw in self.draws])

    def repeat(self, q: np.ndarray) -> np.ndarray:
        """[U, ...] for every draw alike: [R * U, ...]."""
        return np.concatenate([q] * len(self.draws))

    def table(
        self, q: np.ndarray, *, q_log: np.ndarray | None = None, rows: np.ndarray | None = None
    ) -> list[ScoreRow]:
        """The scores of q [R * U, K], or of a part of its rows; with `q_log`, the log score is that of q_log."""
        scored, codes = self.scored, self.codes
        if rows is not None:
            q, q_log = q[rows], None if q_log is None else q_log[rows]
            scored, codes = scored[rows], codes[rows]
        scores = row_scores(q, scored, self.reference.m, (), 0)  # every row has m votes, so that none are drawn
        if q_log is not None:
            scores["log_score"] = log_score(q_log, scored)
        found = [score_row(name, self._interval(x, codes, "mean", limits_of(name))) for name, x in scores.items()]
        totals = group_confusion(q, scored, codes, self.groups)
        kept = ~np.isnan(scores["accuracy"])
        for name, statistic in confusion_statistics(self._classes):
            interval = self._of_totals(totals, kept, codes[kept], statistic, limits_of(name))
            found.append(score_row(name, interval))
        return found

    def mean(
        self, x: np.ndarray, part: np.ndarray | None = None, *, limits: tuple[float, float] = NO_LIMITS
    ) -> Interval:
        """The mean of [R * U] over a part of its rows, with its interval; `limits` are `by_group`'s."""
        if part is None:
            return self._interval(x, self.codes, "mean", limits)
        return self._interval(x[part], self.codes[part], "mean", limits)

    def gap(self, sq: np.ndarray, sq_constant: np.ndarray, part: np.ndarray | None = None) -> Interval:
        """Percent of the closable gap: 100 (constant - panel) / constant, of summed squared errors.

        NaN where the constant's mean error is no gap (`NO_GAP`): people who never disagree leave nothing to know. A
        jackknife is of the log of what is left where that is told from nothing: a few badly heard speakers skew it.
        """
        chosen = slice(None) if part is None else part
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._interval(
                np.column_stack([sq_constant, sq, np.ones(len(sq))])[chosen],
                self.codes[chosen],
                lambda t: 100 * (t[..., 0] - t[..., 1]) / np.where(t[..., 0] > NO_GAP * t[..., 2], t[..., 0], np.nan),
                MOST_GAP,
            )

    def _interval(
        self,
        x: np.ndarray,
        codes: np.ndarray,
        statistic: Literal["mean"] | OfTotals,
        limits: tuple[float, float] = NO_LIMITS,
    ) -> Interval:
        """`by_group` of the speakers' totals, which is that of the rows; rows and skipped ones are counted a draw."""
        kept = np.asarray(~np.isnan(x) if x.ndim == 1 else ~np.isnan(x).any(axis=1))
        if not kept.all():
            x, codes = x[kept], codes[kept]
        if statistic == "mean":
            sums = [np.bincount(codes, weights=w, minlength=self.groups) for w in (x, None)]
            return self._of_totals(np.column_stack(sums), kept, codes, _mean_of_totals, limits)
        return self._of_totals(group_sums(x, codes, self.groups), kept, codes, statistic, limits)

    def _of_totals(
        self,
        totals: np.ndarray,
        kept: np.ndarray,
        codes: np.ndarray,
        statistic: OfTotals,
        limits: tuple[float, float] = NO_LIMITS,
    ) -> Interval:
        """The interval from speakers' totals [G, S] of the rows `kept` (a mask), whose speakers are `codes`."""
        number, each = int(kept.sum()), len(self.draws)
        skipped = round((len(kept) - number) / each)
        if not number:
            return Interval(np.nan, np.nan, np.nan, "none: no rows", 0, 0, skipped)
        there = np.bincount(codes, minlength=self.groups) > 0
        found = by_group(
            totals[there],
            np.flatnonzero(there),
            statistic=statistic,
            level=self.level,
            limits=limits,
            seed=self.reference.seed,
        )
        return found._replace(rows=round(number / each), skipped=skipped)


def _mean_of_totals(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1]


def panel_ambiguity(q: np.ndarray) -> np.ndarray:
    """1 - sum_c q_c^2 [U]: the chance that two votes drawn from q disagree, on the scale of `unbiased_ambiguity`."""
    return 1.0 - (as_distribution(q) ** 2).sum(axis=1)
