"""Scores as if every label were equally common, on real utterances; and distributions moved from one prior to another.

Making utterances to balance a test set would score what was made. Weighting does it on what was recorded: with f_uc =
h_uc / N_u, an utterance's share of votes for c, and pi_c = mean_u f_uc, the expected share of c in the test votes,
every vote for c weighs 1 / pi_c:

    log_score_balanced = mean over labels c of  sum_u f_uc log q_uc / sum_u f_uc
    quadratic_balanced = mean over labels c of  sum_u f_uc |e_c - q_u|^2 / sum_u f_uc

over the labels that somebody chose. That is label shift: the sounds of each label stay, the labels become equally
common. There what should be said of an utterance is not p_u but p_uc / pi_c, normalised, and these scores are proper
for it: in expectation nothing scores better. So a model is scored after its prior is corrected:

    q'_c proportional to q_c want_c / have_c        have: label shares it was trained on, want: the new prior

Source of the correction, and of the EM that finds an unknown prior from unlabelled answers: Saerens, Latinne and
Decaestecker, Neural Computation 14 (2002), equations 2.4 and 2.9.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..votes import frequencies
from .intervals import by_group
from .scoring import ScoreRow, score_row

STEPS = 1000
TOLERANCE = 1e-9


def expected_shares(counts: np.ndarray) -> np.ndarray:
    """pi [K]: the mean over utterances with votes of their shares of votes [U, K]; an utterance counts once.

    >>> expected_shares(np.array([[3.0, 1.0], [0.0, 1.0]]))
    array([0.375, 0.625])
    """
    return np.nanmean(frequencies(counts), axis=0)


def prior_corrected(q: np.ndarray, have: np.ndarray, want: np.ndarray) -> np.ndarray:
    """q_c want_c / have_c, rows [U, K] summing to one; NaN rows stay. A label nobody taught (have 0) stays at 0.

    >>> prior_corrected(np.array([[0.8, 0.2]]), np.array([0.8, 0.2]), np.array([0.5, 0.5]))
    array([[0.5, 0.5]])
    """
    ratio = np.divide(want, have, out=np.zeros(len(want)), where=np.asarray(have) > 0)
    moved = q * ratio
    total = moved.sum(axis=1, keepdims=True)
    return np.divide(moved, total, out=np.full(moved.shape, np.nan), where=total > 0)


def estimated_prior(q: np.ndarray, have: np.ndarray, *, steps: int = STEPS) -> np.ndarray:
    """The prior [K] of utterances whose answers q [U, K] come from a model of prior `have`; no votes are used.

    want <- mean over utterances of `prior_corrected(q, have, want)`, from `have` on, until nothing moves: the maximum
    likelihood of the answers under label shift. NaN rows are left out; NaN where no row is left.
    """
    q = q[~np.isnan(q).any(axis=1)]
    if not len(q):
        return np.full(len(have), np.nan)
    want = np.asarray(have, dtype=np.float64)
    for _ in range(steps):
        moved = np.nanmean(prior_corrected(q, have, want), axis=0)
        if np.abs(moved - want).max() < TOLERANCE:
            return moved
        want = moved
    return want


def class_balanced(
    q: np.ndarray,
    counts: np.ndarray,
    *,
    groups: Sequence[object] | np.ndarray,
    seed: int = 0,
    level: float = 0.95,
) -> list[ScoreRow]:
    """`log_score_balanced` (nats, higher is better) and `quadratic_balanced` (lower is better) of q [U, K] against
    votes [U, K], with intervals over groups (speakers).

    Utterances without votes or without a prediction are skipped and counted. A label that nobody chose has no weight;
    one that lacks in a resample is left out of that resample.
    """
    f = frequencies(counts)
    with np.errstate(divide="ignore"):
        logs = np.log(q)
    # a label without votes adds nothing, even where its answer is 0 and the logarithm infinite
    log_rows = np.where(f > 0, f * np.where(f > 0, logs, 0.0), f * 0.0 + q * 0.0)
    quadratic = f * (1 - 2 * q + (q**2).sum(axis=1, keepdims=True))
    named = (("log_score_balanced", log_rows), ("quadratic_balanced", quadratic))
    found = []
    for name, rows in named:
        columns = np.concatenate([rows, f + q * 0.0], axis=1)
        interval = by_group(columns, groups, statistic=_mean_over_labels, seed=seed, level=level)
        found.append(score_row(name, interval))
    return found


def _mean_over_labels(totals: np.ndarray) -> np.ndarray:
    score, weight = np.split(totals, 2, axis=-1)
    there = weight > 1e-12
    by_label = np.divide(score, weight, out=np.zeros_like(score), where=there)
    return by_label.sum(axis=-1) / there.sum(axis=-1)
