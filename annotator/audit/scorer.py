"""Scores and intervals on one reference: every figure of an audit is made here, over the same speakers.

The reference comes in R draws of the scored votes. Arrays here hold the draws one after another, [R * U], and every
figure is a function of their totals by speaker: the mean over the draws, with the interval of that mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from ...data.bootstrap import Interval, OfTotals, by_group, group_codes
from ...data.divergences import as_distribution
from ...data.proper_scores import log_score
from ...data.scoring import ScoreRow, score_columns, score_row
from .reference import Reference


class Scorer:
    """Scores distributions on every draw of one reference, with intervals at one level."""

    def __init__(self, draws: Sequence[Reference], *, level: float):
        self.draws, self.reference, self.level = list(draws), draws[0], level
        self.scored = self.each(lambda draw: draw.scored)
        self.ids = self.reference.ids * len(self.draws)
        codes, self._groups = group_codes(self.reference.groups)
        self._codes = np.tile(codes, len(self.draws))

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
        ref, part = self.reference, slice(None) if rows is None else rows
        columns = score_columns(q, self.scored, ids=self.ids, m=ref.m, seed=ref.seed, rows=rows)
        found = []
        for name, x, statistic in columns:
            if name == "log_score" and q_log is not None:
                x = log_score(q_log, self.scored)[part]
            found.append(score_row(name, self._interval(x, self._codes[part], statistic)))
        return found

    def mean(self, x: np.ndarray, part: np.ndarray | None = None) -> Interval:
        """The mean of [R * U] over a part of its rows, with its interval."""
        chosen = slice(None) if part is None else part
        return self._interval(x[chosen], self._codes[chosen], "mean")

    def gap(self, sq: np.ndarray, sq_constant: np.ndarray, part: np.ndarray | None = None) -> Interval:
        """Percent of the closable gap: 100 (constant - panel) / constant, of summed squared errors."""
        chosen = slice(None) if part is None else part
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._interval(
                np.column_stack([sq_constant, sq])[chosen],
                self._codes[chosen],
                lambda t: 100 * (t[..., 0] - t[..., 1]) / np.where(t[..., 0] > 0, t[..., 0], np.nan),
            )

    def _interval(self, x: np.ndarray, codes: np.ndarray, statistic: Literal["mean"] | OfTotals) -> Interval:
        """`by_group` of the speakers' totals, which is that of the rows; rows and skipped ones are counted a draw."""
        columns = x.reshape(len(x), -1)
        if statistic == "mean":
            columns = np.column_stack([columns, np.ones(len(columns))])
        kept = ~np.isnan(columns).any(axis=1)
        if not kept.any():
            skipped = round(len(columns) / len(self.draws))
            return Interval(np.nan, np.nan, np.nan, "none: no rows", 0, 0, skipped)
        there = np.bincount(codes[kept], minlength=self._groups) > 0
        totals = np.column_stack([np.bincount(codes[kept], weights=c, minlength=self._groups) for c in columns[kept].T])
        found = by_group(
            totals[there],
            np.flatnonzero(there),
            statistic=_mean_of_totals if statistic == "mean" else statistic,
            level=self.level,
            seed=self.reference.seed,
        )
        each = len(self.draws)
        return found._replace(rows=round(kept.sum() / each), skipped=round((~kept).sum() / each))


def _mean_of_totals(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1]


def panel_ambiguity(q: np.ndarray) -> np.ndarray:
    """1 - sum_c q_c^2 [U]: the chance that two votes drawn from q disagree, on the scale of `unbiased_ambiguity`."""
    return 1.0 - (as_distribution(q) ** 2).sum(axis=1)
