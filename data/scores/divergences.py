"""Divergences between distributions over the same labels, one number per row, each under its own name.

Arrays are [..., K] with the labels last; leading axes broadcast. Rows are divided by their sum, so counts and
frequencies give the same. A row that holds NaN or sums to 0 (no votes) is undefined: NaN, never a uniform.
None of these is a proper score when one side is a handful of votes (`proper_scores` says what is).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

# --------------------
# Rows a block at a time: a step over a million rows passes through memory, over a block through cache.

# Rows of a block. Of a million rows of six labels, scores take a quarter to a half of their time whole; 2,000 to
# 100,000 do alike.
BLOCK = 16_384


def row_sums(rows: np.ndarray) -> np.ndarray:
    """`rows.sum(axis=-1)`, from the first label to the last: a third of the time where rows are short.

    >>> row_sums(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([3., 7.])
    """
    total = rows[..., 0].copy()
    for label in range(1, rows.shape[-1]):
        total += rows[..., label]
    return total


def by_blocks(score: Callable[..., np.ndarray], *rows: ArrayLike) -> np.ndarray:
    """`score(*rows)`, block after block of the rows [U, K] that all arguments share.

    For scores of which no row depends on another: the values are those of all rows at once. Arrays of other shapes, or
    of few rows, are given as they are.

    >>> by_blocks(np.add, [[1.0, 2.0]], [[3.0, 4.0]])
    array([[4., 6.]])
    """
    arrays = [np.asarray(array, dtype=np.float64) for array in rows]
    first = arrays[0].shape
    if len(first) != 2 or first[0] <= BLOCK or any(array.shape != first for array in arrays):
        return score(*arrays)
    starts = range(0, first[0], BLOCK)
    return np.concatenate([score(*(array[start : start + BLOCK] for array in arrays)) for start in starts])


def as_distribution(rows: ArrayLike) -> np.ndarray:
    """Rows [..., K] divided by their sum; NaN rows where a row holds NaN or sums to 0.

    >>> as_distribution([[3, 1], [0, 0]])
    array([[0.75, 0.25],
           [ nan,  nan]])
    """
    return by_blocks(_as_distribution, rows)


def _as_distribution(values: np.ndarray) -> np.ndarray:
    if (values < 0).any() or np.isinf(values).any():
        raise ValueError("a distribution or a row of counts has a negative or an infinite entry")
    total = row_sums(values)[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return values / np.where(total > 0, total, np.nan)


def _plogp(p: np.ndarray) -> np.ndarray:
    """p ln p with 0 ln 0 = 0; NaN stays NaN."""
    return p * np.log(np.where(p > 0, p, 1.0))


def jsd_nats(p: ArrayLike, q: ArrayLike) -> np.ndarray:
    """Jensen-Shannon divergence in nats, [0, ln 2]: H((p+q)/2) - (H(p) + H(q))/2 (Lin 1991), no smoothing.

    >>> round(float(jsd_nats([.6, .2, .2, 0], [1, 0, 0, 0])), 6)
    0.163897
    """
    return by_blocks(_jsd_nats, p, q)


def _jsd_nats(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    p, q = _as_distribution(p), _as_distribution(q)
    divergence = row_sums(0.5 * (_plogp(p) + _plogp(q)) - _plogp(0.5 * (p + q)))
    # rounding leaves about -1e-17 for equal rows
    return np.maximum(divergence, 0.0)


def jsd_bits(p: ArrayLike, q: ArrayLike) -> np.ndarray:
    """Jensen-Shannon divergence in bits, [0, 1]: `jsd_nats` / ln 2.

    >>> round(float(jsd_bits([.6, .2, .2, 0], [1, 0, 0, 0])), 6)
    0.236453
    """
    return jsd_nats(p, q) / np.log(2.0)


def jsd_root(p: ArrayLike, q: ArrayLike) -> np.ndarray:
    """Jensen-Shannon distance, the square root of `jsd_nats` (what scipy's `jensenshannon` returns).

    >>> round(float(jsd_root([.6, .2, .2, 0], [1, 0, 0, 0])), 6)
    0.404841
    """
    return np.sqrt(jsd_nats(p, q))


def kl_nats(p: ArrayLike, q: ArrayLike) -> np.ndarray:
    """Kullback-Leibler divergence of q from p in nats, sum_c p_c ln(p_c / q_c), 0 ln 0 = 0; p is the reference.

    Infinite where q gives 0 to a label that p has: nothing is smoothed here. Against frequencies of few votes it is the
    negated `log_score` less the frequencies' entropy, which moves with their number.

    >>> kl_nats([[.5, .5], [.5, .5]], [[.25, .75], [1, 0]]).round(6)
    array([0.143841,      inf])
    """
    return by_blocks(_kl_nats, p, q)


def _kl_nats(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    p, q = _as_distribution(p), _as_distribution(q)
    with np.errstate(divide="ignore"):
        cross = np.where((p == 0) & ~np.isnan(q), 0.0, p * np.log(q))
    # rounding leaves about -1e-17 for equal rows
    return np.maximum(row_sums(_plogp(p) - cross), 0.0)


def bhattacharyya(p: ArrayLike, q: ArrayLike) -> np.ndarray:
    """Bhattacharyya coefficient, sum_c sqrt(p_c q_c), in [0, 1]; 1 = equal.

    >>> round(float(bhattacharyya([.6, .2, .2, 0], [1, 0, 0, 0])), 6)
    0.774597
    """
    return by_blocks(lambda p, q: row_sums(np.sqrt(_as_distribution(p) * _as_distribution(q))), p, q)


def total_variation(p: ArrayLike, q: ArrayLike) -> np.ndarray:
    """Total variation distance, half of sum_c |p_c - q_c|, in [0, 1].

    >>> round(float(total_variation([.6, .2, .2, 0], [1, 0, 0, 0])), 6)
    0.4
    """
    return 0.5 * manhattan(p, q)


def manhattan(p: ArrayLike, q: ArrayLike) -> np.ndarray:
    """Manhattan distance, sum_c |p_c - q_c|, in [0, 2]: twice `total_variation`.

    >>> round(float(manhattan([.6, .2, .2, 0], [1, 0, 0, 0])), 6)
    0.8
    """
    return by_blocks(lambda p, q: row_sums(np.abs(_as_distribution(p) - _as_distribution(q))), p, q)


def hellinger(p: ArrayLike, q: ArrayLike) -> np.ndarray:
    """Hellinger distance, sqrt(sum_c (sqrt(p_c) - sqrt(q_c))^2 / 2) = sqrt(1 - `bhattacharyya`), in [0, 1].

    >>> round(float(hellinger([.6, .2, .2, 0], [1, 0, 0, 0])), 6)
    0.474767
    """
    return by_blocks(_hellinger, p, q)


def _hellinger(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    roots = np.sqrt(_as_distribution(p)) - np.sqrt(_as_distribution(q))
    # not from the coefficient: 1 - 1 loses all digits where the two are nearly equal
    return np.sqrt(0.5 * row_sums(roots**2))


def entropy_bits(p: ArrayLike) -> np.ndarray:
    """Shannon entropy in bits, -sum_c p_c log2 p_c. Of the frequencies of few votes it is biased downwards."""
    return np.maximum(-_plogp(as_distribution(p)).sum(axis=-1), 0.0) / np.log(2.0)


def normalised_entropy(p: ArrayLike) -> np.ndarray:
    """Entropy divided by that of the uniform over the whole label set, H(p) / ln K, in [0, 1]; NaN for K = 1.

    >>> normalised_entropy([[.25, .25, .25, .25], [.5, .5, 0, 0]])
    array([1. , 0.5])
    """
    p = as_distribution(p)
    if p.shape[-1] < 2:
        return np.full(p.shape[:-1], np.nan)
    return np.maximum(-_plogp(p).sum(axis=-1), 0.0) / np.log(p.shape[-1])
