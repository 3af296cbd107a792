"""Whether what is said with a probability happens that often: errors of calibration, over bins of utterances.

Bins are of equal width on what is predicted, (b - 1)/B < x <= b/B with 0 in the first. Each error is a function of sums
over bins, by group: a resample of speakers costs one small product. In each bin that holds anything the sampling noise
of the votes adds a little, so both errors are above 0 by chance even for a perfect prediction, by more where
utterances are few and bins many. Neither rewards information: a constant at the class marginal is calibrated.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .divergences import as_distribution
from .metrics import accuracy_rows


def ece(q: ArrayLike, counts: ArrayLike, *, bins: int = 10) -> float:
    """Expected calibration error of the top label, sum_b n_b/n |mean confidence - mean agreement|, in [0, 1].

    Confidence is max_c q_c, agreement 1 where the two pluralities are one label; ties split credit (Guo et al. 2017
    with the human plurality as truth). Rows without prediction or votes are skipped; NaN without any.
    """
    return _single(ece_totals, ece_of, q, counts, bins)


def distribution_ece(q: ArrayLike, counts: ArrayLike, *, bins: int = 10) -> float:
    """Distributional calibration error, 1/2 sum_c sum_b n_cb/n |mean q_c - mean h_c/m|, in [0, 1]: serann's own.

    The bins of a label are of the probability given to it, and each vote counts, not the plurality alone (with one
    label as truth, and the mean over labels for their half sum, it would be the classwise ECE of Kull et al. 2019).
    The votes' shares are unbiased in a bin whatever m, so m adds noise alone; it is never above the mean total
    variation distance to the same shares. Rows without prediction or votes are skipped; NaN without any.
    """
    return _single(distribution_ece_totals, distribution_ece_of, q, counts, bins)


class Bin(NamedTuple):
    """A bin of the top label's probability: its bounds, utterances, mean confidence and agreement (NaN if empty)."""

    low: float
    high: float
    utterances: int
    confidence: float
    agreement: float


def reliability(q: ArrayLike, counts: ArrayLike, *, bins: int = 10) -> list[Bin]:
    """The bins that `ece` sums over: sum_b n_b/n |confidence - agreement| is the error."""
    credit = accuracy_rows(q, counts)
    q = as_distribution(q)
    kept = ~np.isnan(credit)
    confidence = q[kept].max(axis=1)
    of = _bin(confidence, bins)
    size = np.bincount(of, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(of, weights=x, minlength=bins) / size for x in (confidence, credit[kept])]
    return [Bin(b / bins, (b + 1) / bins, int(size[b]), float(means[0][b]), float(means[1][b])) for b in range(bins)]


def ece_totals(q: ArrayLike, counts: ArrayLike, *, bins: int, groups: np.ndarray, size: int) -> np.ndarray:
    """Sums by group, [G, 1 + B]: rows, then confidence less agreement in each bin; `groups` int [U] below `size`."""
    credit = accuracy_rows(q, counts)
    q = as_distribution(q)
    kept = ~np.isnan(credit)
    confidence = q[kept].max(axis=1)
    of = groups[kept] * bins + _bin(confidence, bins)
    gaps = np.bincount(of, weights=confidence - credit[kept], minlength=size * bins).reshape(size, bins)
    return np.column_stack([np.bincount(groups[kept], minlength=size), gaps])


def ece_of(totals: np.ndarray) -> np.ndarray:
    """The expected calibration error from summed `ece_totals` [..., 1 + B]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.abs(totals[..., 1:]).sum(axis=-1) / totals[..., 0]


def distribution_ece_totals(q: ArrayLike, counts: ArrayLike, *, bins: int, groups: np.ndarray, size: int) -> np.ndarray:
    """Sums by group, [G, 1 + K B]: rows, then q_c - h_c/m of each label in each bin; `groups` int [U] below `size`."""
    q, share = as_distribution(q), as_distribution(counts)
    kept = ~np.isnan(q + share).any(axis=1)
    here = groups[kept]
    gaps = [
        np.bincount(here * bins + _bin(p, bins), weights=p - y, minlength=size * bins).reshape(size, bins)
        for p, y in zip(q[kept].T, share[kept].T, strict=True)
    ]
    return np.column_stack([np.bincount(here, minlength=size), *gaps])


def distribution_ece_of(totals: np.ndarray) -> np.ndarray:
    """The distributional calibration error from summed `distribution_ece_totals` [..., 1 + K B]."""
    return 0.5 * ece_of(totals)


def _bin(x: np.ndarray, bins: int) -> np.ndarray:
    # 1e-9: (.1 + .2) stays in the bin that ends at .3
    return np.clip(np.ceil(x * bins - 1e-9).astype(int) - 1, 0, bins - 1)


def _single(totals, of, q: ArrayLike, counts: ArrayLike, bins: int) -> float:
    return float(of(totals(q, counts, bins=bins, groups=np.zeros(len(np.asarray(q)), dtype=int), size=1)[0]))
