"""Scores and intervals on one reference: every figure of an audit is made here, over the same speakers."""

from __future__ import annotations

import numpy as np

from ...data.bootstrap import Interval, by_group
from ...data.divergences import as_distribution
from ...data.proper_scores import log_score
from ...data.scoring import ScoreRow, score_row, score_table
from .reference import Reference


class Scorer:
    """Scores distributions on one reference, with intervals at one level."""

    def __init__(self, reference: Reference, *, level: float):
        self.reference, self.level = reference, level

    def table(
        self, q: np.ndarray, *, q_log: np.ndarray | None = None, rows: np.ndarray | None = None
    ) -> list[ScoreRow]:
        """`score_table` of q on the reference; with `q_log`, the log score is that of q_log."""
        ref = self.reference
        table = score_table(
            q,
            ref.scored,
            labels=ref.labels,
            ids=ref.ids,
            groups=ref.groups,
            m=ref.m,
            seed=ref.seed,
            level=self.level,
            rows=rows,
        )
        if q_log is None:
            return table
        part = np.ones(len(q), dtype=bool) if rows is None else rows
        row = score_row("log_score", self.mean(np.where(part, log_score(q_log, ref.scored), np.nan), part))
        return [row if score.metric == "log_score" else score for score in table]

    def mean(self, x: np.ndarray, part: np.ndarray | None = None) -> Interval:
        """The mean of [U] over a part of the utterances, with its interval."""
        part = np.ones(len(x), dtype=bool) if part is None else part
        return by_group(x[part], self.reference.groups[part], level=self.level, seed=self.reference.seed)

    def gap(self, sq: np.ndarray, sq_constant: np.ndarray, part: np.ndarray | None = None) -> Interval:
        """Percent of the closable gap: 100 (constant - panel) / constant, of summed squared errors."""
        part = np.ones(len(sq), dtype=bool) if part is None else part
        with np.errstate(invalid="ignore", divide="ignore"):
            return by_group(
                np.column_stack([sq_constant, sq])[part],
                self.reference.groups[part],
                statistic=lambda t: 100 * (t[..., 0] - t[..., 1]) / np.where(t[..., 0] > 0, t[..., 0], np.nan),
                level=self.level,
                seed=self.reference.seed,
            )


def panel_ambiguity(q: np.ndarray) -> np.ndarray:
    """1 - sum_c q_c^2 [U]: the chance that two votes drawn from q disagree, on the scale of `unbiased_ambiguity`."""
    return 1.0 - (as_distribution(q) ** 2).sum(axis=1)
