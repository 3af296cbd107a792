"""The statistics of the alternative annotator test: one-sided p for each rater, and which of them count together."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr
from scipy.stats import wilcoxon

from .alt_scorers import HumanVotes

# The paper advises 30 instances a rater; with fewer its test is Wilcoxon's.
ADVISED = 30


class Tally(NamedTuple):
    """d of each rater, [R]: how many `n`, and in how many the model was `better` or `worse` than the human."""

    n: np.ndarray
    better: np.ndarray
    worse: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean of d, NaN without instances."""
        with np.errstate(invalid="ignore"):
            return (self.worse - self.better) / self.n

    @property
    def constant(self) -> np.ndarray:
        """Where every d is the same."""
        return (self.better == self.n) | (self.worse == self.n) | (self.better + self.worse == 0)


def tally_of(votes: HumanVotes, kept: np.ndarray, sign: np.ndarray) -> Tally:
    """Count each rater's instances by sign [S, U] of model minus human."""
    masks = (kept, kept & (sign > 0), kept & (sign < 0))
    if votes.rater is None:
        return Tally(*(mask.sum(axis=1) for mask in masks))
    return Tally(*(np.bincount(votes.rater[mask], minlength=votes.raters) for mask in masks))


def p_values(tally: Tally, epsilon: float) -> np.ndarray:
    """One-sided p of mean d < epsilon for each rater, [R]: Student's t, or Wilcoxon's signed ranks below 30."""
    p = t_test(tally, epsilon)
    for r in np.flatnonzero(tally.n < ADVISED):
        p[r] = wilcoxon_test(int(tally.n[r]), int(tally.better[r]), int(tally.worse[r]), epsilon)
    return p


def t_test(tally: Tally, epsilon: float) -> np.ndarray:
    """p [R] of the one-sample t-test, H1: mean d < epsilon; where d is constant its limit, 0 below epsilon, else 1."""
    n, mean = tally.n, tally.mean
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = ((tally.better + tally.worse) - n * mean**2) / (n - 1)
        p = stdtr(n - 1, (mean - epsilon) / np.sqrt(variance / n))
    return np.where(tally.constant, np.where(mean < epsilon, 0.0, 1.0), p)


def wilcoxon_test(n: int, better: int, worse: int, epsilon: float) -> float:
    """p of Wilcoxon's signed-rank test (scipy's, zeros dropped), H1: d - epsilon lies below 0; 1 if all are 0."""
    shifted = np.repeat([-1.0, 0.0, 1.0], [better, n - better - worse, worse]) - epsilon
    if not shifted.any():
        return 1.0
    with warnings.catch_warnings():
        # scipy remarks on small samples with ties; the advised minimum is what guards against those
        warnings.simplefilter("ignore")
        found: Any = wilcoxon(shifted, alternative="less")
        return float(found.pvalue)


def clustered_p(
    votes: HumanVotes, kept: np.ndarray, sign: np.ndarray, speakers: np.ndarray, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """p [R] of mean d < epsilon with items clustered by speaker, and each rater's number G of speakers, [R].

    t = (mean d - epsilon) / s with G - 1 degrees of freedom, s^2 = (G - 1)/G sum_g (theta_g - mean theta)^2, theta_g
    being the mean of d without speaker g (delete-one-group jackknife, Tukey 1958). Items of one speaker share what the
    speaker does, which the t-test takes for independent evidence. NaN below two speakers; where all theta_g are equal,
    the limit 0 or 1.
    """
    _, group = np.unique(speakers, return_inverse=True)
    slot, item = np.nonzero(kept)
    key = group.reshape(-1)[item] * votes.raters + (slot if votes.rater is None else votes.rater[slot, item])
    cells, place = np.unique(key, return_inverse=True)
    total, n = np.bincount(place, weights=-sign[kept].astype(np.float64)), np.bincount(place)
    rater = cells % votes.raters

    def by_rater(column: np.ndarray) -> np.ndarray:
        return np.bincount(rater, weights=column, minlength=votes.raters)

    size = by_rater(np.ones(len(cells)))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = by_rater(total) / by_rater(n)
        without = (by_rater(total)[rater] - total) / (by_rater(n)[rater] - n)
        off = by_rater((without - (by_rater(without) / size)[rater]) ** 2)
        error = np.sqrt((size - 1) / size * off)
        p = stdtr(size - 1, (mean - epsilon) / error)
    p = np.where(error <= 1e-12, np.where(mean < epsilon, 0.0, 1.0), p)
    return np.where(size >= 2, p, np.nan), size.astype(np.int64)


def benjamini_yekutieli(p: ArrayLike, q: float = 0.05) -> np.ndarray:
    """Which hypotheses are rejected, bool [m]: all up to the largest r with p_(r) <= r q / (m H_m), H_m = sum_k 1/k.

    The false discovery rate is held under any dependence (Benjamini & Yekutieli 2001, Ann. Stat. 29:1165). Undefined
    p (NaN) are no hypotheses.

    >>> benjamini_yekutieli([0.0192, 0.0260, 0.3145]).tolist()
    [False, False, False]
    """
    p = np.asarray(p, dtype=np.float64)
    defined = np.sort(p[~np.isnan(p)])
    if not len(defined):
        return np.zeros(p.shape, dtype=bool)
    rank = np.arange(1, len(defined) + 1)
    below = defined <= rank / len(defined) * (q / (1 / rank).sum())
    return p <= (defined[below][-1] if below.any() else -1.0)
