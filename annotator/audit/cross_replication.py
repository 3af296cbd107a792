"""Cross-replication reliability: whether votes of one pool agree with votes of another as votes of one pool do.

    kappa_x = 1 - d_o / d_e
    d_o = sum_i (R_i + S_i) / (R + S) · share of pairs (a vote of X, a vote of Y) on item i that differ
    d_e = share of all pairs (a vote of X, a vote of Y), whatever their items, that differ

over items i with R_i votes of X and S_i of Y, R and S their sums (Wong, Paritosh and Aroyo 2021, "Cross-replication
Reliability", ACL, nominal distance; the weights are theirs for numbers of votes that vary). Normalised by both pools'
own reliability, kappa_x / sqrt(alpha_X alpha_Y), two samples of the same raters have about 1; it may exceed 1. Chance
is of each pool's own rates of the labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...data.krippendorff import alpha_of, alpha_rows, whole_counts


def kappa_x(x: ArrayLike, y: ArrayLike) -> float:
    """Cross-kappa of votes x and y, counts [U, K] of the same items; NaN without common items or with one label.

    >>> round(kappa_x([[2, 0], [0, 2]], [[1, 0], [1, 1]]), 4)  # d_o = (4/7) .5, d_e = 1/2
    0.4286
    """
    return float(kappa_x_of(cross_rows(x, y).sum(axis=0)))


def normalised_kappa_x(x: ArrayLike, y: ArrayLike) -> float:
    """kappa_x / sqrt(alpha_X alpha_Y), Krippendorff's nominal alphas on the common items.

    NaN where one of them is not above 0 or undefined.
    """
    return float(normalised_of(normalised_rows(x, y).sum(axis=0)))


def cross_rows(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Columns [U, 1 + 2 K] whose totals `kappa_x_of` takes: weighted disagreement, then both pools' counts."""
    x, y = whole_counts(x), whole_counts(y)
    r, s = x.sum(axis=1), y.sum(axis=1)
    both = (r > 0) & (s > 0)
    pairs = np.where(both, r * s, 1.0)
    differ = np.where(both, (r + s) * (1 - (x * y).sum(axis=1) / pairs), 0.0)
    return np.column_stack([differ, np.where(both[:, None], x, 0.0), np.where(both[:, None], y, 0.0)])


def kappa_x_of(totals: np.ndarray) -> np.ndarray:
    """Cross-kappa from summed `cross_rows` [..., 1 + 2 K]."""
    totals = np.asarray(totals, dtype=np.float64)
    labels = (totals.shape[-1] - 1) // 2
    x, y = totals[..., 1 : 1 + labels], totals[..., 1 + labels :]
    r, s = x.sum(axis=-1), y.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed, expected = totals[..., 0] / (r + s), 1 - (x * y).sum(axis=-1) / (r * s)
        return np.where(expected > 0, 1 - observed / np.where(expected > 0, expected, 1.0), np.nan)


def normalised_rows(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Columns [U, 3 + 4 K] whose totals `normalised_of` takes: `cross_rows`, then `alpha_rows` of both pools."""
    x, y = whole_counts(x), whole_counts(y)
    both = ((x.sum(axis=1) > 0) & (y.sum(axis=1) > 0))[:, None]
    return np.column_stack([cross_rows(x, y), alpha_rows(np.where(both, x, 0.0)), alpha_rows(np.where(both, y, 0.0))])


def normalised_of(totals: np.ndarray) -> np.ndarray:
    """Normalised cross-kappa from summed `normalised_rows` [..., 3 + 4 K]."""
    totals = np.asarray(totals, dtype=np.float64)
    labels = (totals.shape[-1] - 3) // 4
    cross, alphas = totals[..., : 1 + 2 * labels], totals[..., 1 + 2 * labels :]
    first, second = alpha_of(alphas[..., : 1 + labels]), alpha_of(alphas[..., 1 + labels :])
    with np.errstate(invalid="ignore"):
        positive = (first > 0) & (second > 0)
        return np.where(positive, kappa_x_of(cross) / np.sqrt(np.where(positive, first * second, 1.0)), np.nan)
