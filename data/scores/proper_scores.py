"""Scores of a predicted distribution against a handful of held-out votes that the true distribution wins.

A divergence to the frequencies of few votes rewards sharpening and moves with their number; the scores here do
neither: in expectation over the votes, nothing scores better than the distribution they were drawn from.
`q` is [U, K], one distribution a row (all NaN = no prediction); `counts` [U, K] are whole votes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..votes import draw_counts
from .divergences import as_distribution, by_blocks, jsd_bits, row_sums


def _whole(counts: ArrayLike) -> np.ndarray:
    """Counts as floats, with NaN rows where a row holds shares of votes: pairs of votes cannot be counted there."""
    h = np.asarray(counts, dtype=np.float64)
    if (h < 0).any():
        raise ValueError("counts of votes are never negative")
    whole = (h == np.round(h)).all(axis=-1, keepdims=True)
    return np.where(whole, h, np.nan)


def agreement_of_pairs(counts: ArrayLike) -> np.ndarray:
    """Share of pairs of votes that agree, sum_c h_c(h_c - 1) / (m(m - 1)): unbiased for sum_c p_c^2.

    NaN with fewer than two votes, or where a row holds shares of votes.
    """
    return by_blocks(_agreement_of_pairs, counts)


def _agreement_of_pairs(counts: np.ndarray) -> np.ndarray:
    h = _whole(counts)
    m = row_sums(h)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(m >= 2, row_sums(h * (h - 1)) / (m * (m - 1)), np.nan)


def unbiased_ambiguity(counts: ArrayLike) -> np.ndarray:
    """Probability that two listeners disagree, 1 - sum_c h_c(h_c - 1) / (m(m - 1)), in [0, 1].

    Unbiased for 1 - sum_c p_c^2 at any number of votes m >= 2, so comparable between utterances with different
    numbers of votes, which the entropy of frequencies is not. NaN with fewer than two votes.

    >>> unbiased_ambiguity([[2, 2], [4, 0], [1, 0]]).round(4)
    array([0.6667, 0.    ,    nan])
    """
    return 1.0 - agreement_of_pairs(counts)


def sq_unbiased(q: ArrayLike, counts: ArrayLike) -> np.ndarray:
    """Squared distance of q to the distribution behind the votes, without the votes' sampling noise.

    sum_c q_c^2 - 2 sum_c q_c h_c / m + sum_c h_c(h_c - 1) / (m(m - 1)), whose expectation over m votes drawn from
    p is sum_c (q_c - p_c)^2 whatever m: the mean over utterances of a perfect prediction is 0. A single row may
    be below 0. It is the sum over labels of `sq_unbiased_by_label`. NaN with fewer than two votes.

    >>> float(sq_unbiased([.5, .5], [1, 1]))
    -0.5
    """
    return by_blocks(lambda q, counts: row_sums(_sq_unbiased_by_label(q, counts)), q, counts)


def sq_unbiased_by_label(q: ArrayLike, counts: ArrayLike) -> np.ndarray:
    """The same for each label against the rest, [U, K]: q_c^2 - 2 q_c h_c / m + h_c(h_c - 1) / (m(m - 1)).

    Unbiased for (q_c - p_c)^2. NaN rows with fewer than two votes.
    """
    return by_blocks(_sq_unbiased_by_label, q, counts)


def _sq_unbiased_by_label(q: np.ndarray, counts: np.ndarray) -> np.ndarray:
    q, h = as_distribution(q), _whole(counts)
    m = row_sums(h)[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = q**2 - 2 * q * h / m + h * (h - 1) / (m * (m - 1))
    return np.where(m >= 2, rows, np.nan)


def log_score(q: ArrayLike, counts: ArrayLike) -> np.ndarray:
    """Mean natural log of the probability that q gave to each vote, sum_c h_c ln q_c / m; higher is better.

    -inf where q gives 0 to a label somebody voted for (raw frequencies of few votes nearly always do); that is
    reported as it is, nothing is smoothed here. NaN without votes. Shares of votes count as shares.

    >>> log_score([[.5, .5], [1, 0]], [[3, 1], [3, 1]]).round(4)
    array([-0.6931,    -inf])
    """
    return by_blocks(_log_score, q, counts)


def _log_score(q: np.ndarray, counts: np.ndarray) -> np.ndarray:
    q, h = as_distribution(q), counts
    with np.errstate(divide="ignore", invalid="ignore"):
        # a label nobody voted for costs nothing, even where q is 0; a missing prediction stays NaN
        terms = np.where((h == 0) & ~np.isnan(q), 0.0, h * np.log(q))
        m = row_sums(h)
        return np.where(m > 0, row_sums(terms) / m, np.nan)


def brier(q: ArrayLike, counts: ArrayLike) -> np.ndarray:
    """Brier score over votes, the mean over the m votes v of sum_c (q_c - [v = c])^2, in [0, 2]; lower is better.

    = sum_c q_c^2 - 2 sum_c q_c h_c / m + 1 (Brier 1950, each vote an outcome, no division by K): `sq_unbiased` plus
    the chance that two votes disagree, so the true distribution scores 1 - sum_c p_c^2 and not 0. NaN without votes.

    >>> float(brier([.5, .5], [2, 0]))
    0.5
    """
    return by_blocks(_brier, q, counts)


def _brier(q: np.ndarray, counts: np.ndarray) -> np.ndarray:
    q, h = as_distribution(q), counts
    m = row_sums(h)
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = row_sums(q**2) - 2 * row_sums(q * h) / m + 1.0
    return np.where(m > 0, rows, np.nan)


def squared_agreement(counts: ArrayLike) -> np.ndarray:
    """Share of ordered quadruples of votes whose first two and whose last two agree: unbiased for (sum_c p_c^2)^2.

    (A^2 - sum_c a_c^2 + sum_c a_c (h_c - 2)(h_c - 3)) / (m(m - 1)(m - 2)(m - 3)) with a_c = h_c(h_c - 1), A their
    sum. Its mean less the squared mean of `agreement_of_pairs` is the spread of agreement between utterances, without
    the votes' sampling noise. NaN with fewer than four votes.
    """
    return by_blocks(_squared_agreement, counts)


def _squared_agreement(counts: np.ndarray) -> np.ndarray:
    h = _whole(counts)
    m, pairs = h.sum(axis=-1), h * (h - 1)
    same = (pairs * (h - 2) * (h - 3)).sum(axis=-1)
    apart = pairs.sum(axis=-1) ** 2 - (pairs**2).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(m >= 4, (same + apart) / (m * (m - 1) * (m - 2) * (m - 3)), np.nan)


def jsd_bits_at(q: ArrayLike, counts: ArrayLike, m: int, ids: Sequence[str], seed: int) -> np.ndarray:
    """Jensen-Shannon divergence in bits to the frequencies of exactly m votes, drawn without replacement.

    NaN where fewer than m votes exist. Not a proper score, and never comparable between different m.
    """
    return jsd_bits(q, votes_at(counts, m, ids, seed))


def votes_at(counts: ArrayLike, m: int, ids: Sequence[str], seed: int) -> np.ndarray:
    """Draw the m reference votes of each row, [U, K], that every figure "at m votes" is computed against.

    The draw depends on (seed, utterance id) alone, so every system meets the same votes in any order of rows. NaN
    rows where fewer than m votes exist, or shares of votes.
    """
    h = _whole(counts)
    drawn = draw_counts(np.nan_to_num(h), m, ids, seed)
    return np.where(np.isnan(h), np.nan, drawn)
